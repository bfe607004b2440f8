// Which file system a folder lies on, as /proc/self/mountinfo has it.

import type { SystemFiles } from "./system-files.js";

export interface Mount {
  /** What of the file system is seen at `point`. */
  root: string;
  /** A folder. */
  point: string;
  /** "ext4", "overlay", "nfs4". */
  type: string;
  /** Of the mount, then of the file system: "rw,relatime,rw". */
  options: string[];
}

/** Later ones hide earlier ones. Lines are "31 23 0:28 ROOT POINT OPTIONS [FIELDS] - TYPE SOURCE OPTIONS". */
export function listMounts(files: SystemFiles): Mount[] {
  const lines = files.read("/proc/self/mountinfo")?.split("\n") ?? [];
  return lines.flatMap((line) => {
    const [left = "", right] = line.split(" - ");
    const [, , , root, point, options = ""] = left.split(" ");
    const [type, , more = ""] = right?.split(" ") ?? [];
    return root === undefined || point === undefined || type === undefined
      ? []
      : [{ root: withoutEscapes(root), point: withoutEscapes(point), type, options: `${options},${more}`.split(",") }];
  });
}

/** Spaces and the like stand as \040. */
function withoutEscapes(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The mount that an absolute path lies on. */
export function mountOf(mounts: readonly Mount[], path: string): Mount | undefined {
  const holds = ({ point }: Mount) => point === "/" || path === point || path.startsWith(`${point}/`);
  return mounts
    .filter(holds)
    .reduce<Mount | undefined>((best, one) => (one.point.length >= (best?.point.length ?? 0) ? one : best), undefined);
}
