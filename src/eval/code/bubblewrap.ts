// The command line of the sandbox that bubblewrap makes: namespaces of its own for everything, of the file system only
// /usr to read and 16 MB of /tmp, and limits for every process in it.

export const MEMORY_BYTES = 2 * 1024 ** 3;
export const FILE_BYTES = 1024 ** 2;
export const TMP_BYTES = 16 * 1024 ** 2;
export const OPEN_FILES = 64;
const PROCESSES = 40;

/** Limits of the number of processes do not hold for root, who may take every pid of the machine: nobody runs it. */
const AS_NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"];

const NAMESPACES = [
  ...["--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", "/usr/bin"],
  ...["--ro-bind", "/usr", "/usr"],
  ...["--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--symlink", "usr/bin", "/bin"],
  ...["--proc", "/proc", "--dev", "/dev"],
  ...["--size", String(TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp", "--cap-drop", "ALL"],
];

/** Else both are file systems in memory that the program may fill. */
const READ_ONLY = ["--remount-ro", "/dev", "--remount-ro", "/"];

export function bubblewrapCommand(file: string, seconds: number, isRoot: boolean): string[] {
  const limits = [
    ...[`--as=${MEMORY_BYTES}`, `--cpu=${seconds}`, `--fsize=${FILE_BYTES}`],
    ...[`--nofile=${OPEN_FILES}`, "--core=0"],
  ];
  return [
    ...["prlimit", ...limits],
    ...(isRoot ? AS_NOBODY : []),
    ...["bwrap", ...NAMESPACES, "--ro-bind", file, "/program.py", ...READ_ONLY],
    // Within the sandbox, which counts its own processes only: whoever has more than these could not start it.
    ...["/usr/bin/prlimit", `--nproc=${PROCESSES}`],
    ...["/usr/bin/python3", "-I", "-S", "/program.py"],
  ];
}
