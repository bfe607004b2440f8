// The command line of a container without a network, without anything to write to, and with few processes.

import { FILE_BYTES, OPEN_FILES, TMP_BYTES } from "./bubblewrap.js";

export interface Container {
  engine: "docker" | "podman";
  /** What the container is called while it runs. */
  name: string;
  /** An image with python3, which is there: nothing is downloaded for this. */
  image: string;
}

export function containerCommand({ engine, name, image }: Container, file: string, seconds: number): string[] {
  return [
    ...[engine, "run", "--rm", "--name", name, "--pull", "never"],
    ...["--network", "none", "--read-only", "--pids-limit", "64", "--memory", "2g", "--memory-swap", "2g"],
    ...["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "65534"],
    ...["--ulimit", `cpu=${seconds}`, "--ulimit", `fsize=${FILE_BYTES}`, "--ulimit", `nofile=${OPEN_FILES}`],
    ...["--ulimit", "core=0", "--tmpfs", `/tmp:size=${TMP_BYTES}`, "--workdir", "/tmp"],
    // The log of an endless output would fill the disk of the machine.
    ...["--log-driver", "none", "--volume", `${file}:/program.py:ro`],
    ...["--entrypoint", "python3", image, "-I", "-S", "/program.py"],
  ];
}

/** Ends a container of which only the client was killed. */
export function removalCommand({ engine, name }: Container): string[] {
  return [engine, "rm", "--force", name];
}
