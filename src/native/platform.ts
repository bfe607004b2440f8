// Which system this is as far as a library must know it, and for which one a library was made.

import { closeSync, openSync, readSync } from "node:fs";

/** Of operating system, C library and CPU, as the packages of the native part are called: linuxmusl-x64. */
export function platformName(): string {
  return `${process.platform}${usesMusl() ? "musl" : ""}-${process.arch}`;
}

/** Whether this Node was made for musl: its loader tells, which is read far faster than the report of the process. */
export function usesMusl(): boolean {
  if (process.platform !== "linux") {
    return false;
  }
  const [loader] = /\/ld-(?:linux|musl)[^\0]*/.exec(readOwnHead()) ?? [];
  return loader === undefined ? glibcVersion() === undefined : loader.startsWith("/ld-musl");
}

/** Empty where Node does not know where it lies, as without /proc. */
function readOwnHead(): string {
  try {
    return readHead(process.execPath, 4096).toString("latin1");
  } catch {
    return "";
  }
}

/** Of this process; undefined where it has another C library. */
export function glibcVersion(): string | undefined {
  const report = process.report as (NodeJS.ProcessReport & { excludeNetwork?: boolean }) | undefined;
  if (report === undefined) {
    return undefined;
  }
  const { excludeNetwork = false } = report;
  report.excludeNetwork = true; // else it asks for the names of all peers
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } };
  report.excludeNetwork = excludeNetwork;
  return header.glibcVersionRuntime;
}

/** The first bytes of a file, fewer if it is shorter. */
export function readHead(path: string, length: number): Buffer {
  const head = Buffer.alloc(length);
  const file = openSync(path, "r");
  try {
    return head.subarray(0, readSync(file, head, 0, length, 0));
  } finally {
    closeSync(file);
  }
}

/** How long an ELF file is at least, by its head: the table of its sections stands at its end. 0 for other files. */
export function leastBytes(head: Buffer): number {
  const isElf = head.length >= 64 && head.readUInt32LE(0) === 0x464c457f;
  return isElf ? Number(head.readBigUInt64LE(0x28)) + head.readUInt16LE(0x3a) * head.readUInt16LE(0x3c) : 0;
}

/** The platform that a library was made for, by the head of the file (ELF, Mach-O of 64 bits, PE). */
export function binaryPlatform(head: Buffer): string | undefined {
  const u32 = (offset: number) => (offset + 4 <= head.length ? head.readUInt32LE(offset) : 0);
  const arch = (machines: Record<number, string>, machine: number) => machines[machine] ?? `machine ${machine}`;
  if (u32(0) === 0x464c457f) {
    return `linux-${arch({ 62: "x64", 183: "arm64" }, u32(18) & 0xffff)}`;
  }
  if (u32(0) === 0xfeedfacf) {
    return `darwin-${arch({ 16777223: "x64", 16777228: "arm64" }, u32(4))}`;
  }
  const header = u32(0x3c); // of the PE, behind that of DOS
  if (u32(0) % 65536 === 0x5a4d && u32(header) === 0x4550) {
    return `win32-${arch({ 34404: "x64", 43620: "arm64" }, u32(header + 4) & 0xffff)}`;
  }
  return undefined;
}
