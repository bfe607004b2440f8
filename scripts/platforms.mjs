// The platforms that the native part is built for, one package each: build-packages.mjs builds them, the published package
// lists them as optional dependencies.

const llvm = ["libcxx/LICENSE.TXT", "libcxxabi/LICENSE.TXT", "libunwind/LICENSE.TXT"];
const glibc = { os: "linux", libc: "glibc", system: "Linux", linked: llvm, glibc: "2.17" };
const musl = { os: "linux", libc: "musl", system: "Linux", linked: [...llvm, "libc/musl/COPYRIGHT"] };
const darwin = { os: "darwin", system: "Darwin", linked: llvm };
const windows = { os: "win32", system: "Windows", linked: [...llvm, "libc/mingw/COPYING"] };

/** `instructions`: what must be among those of an addon, or a set of kernels is missing; `features`: how to read them. */
const x64 = {
  cpu: "x64",
  instructions: {
    AVX2: /vpmaddubsw\s.*%ymm/,
    "AVX-VNNI": /\{vex\}\s+vpdpbusd\s.*%ymm/,
    "AVX-512 VNNI": /vpdpbusd\s.*%zmm/,
    AMX: /tdpb[us][us]d\s/,
  },
};
const arm64 = {
  cpu: "arm64",
  features: ["--mattr=+dotprod,+i8mm"],
  instructions: { "dot products": /\s[us]dot\s/, i8mm: /\s(us?|s)mmla\s/ },
};

/**
 * name: as src/native/platform.ts calls the system. os, cpu, libc: fields of package.json, by which package managers
 * choose. target: of `zig c++`; glibc: the newest version of it that is needed, of 2012 and older than any system on which
 * a Node of today starts. system, processor: as CMake calls them. linked: licences in zig's folder `lib` of what is linked
 * in; macOS 11 is the oldest for which there is a Node for both processors. instructions, features: what `check` of
 * build-packages.mjs looks for with llvm-objdump.
 */
export const platforms = [
  { name: "linux-x64", target: "x86_64-linux-gnu.2.17", processor: "x86_64", ...glibc, ...x64 },
  { name: "linux-arm64", target: "aarch64-linux-gnu.2.17", processor: "aarch64", ...glibc, ...arm64 },
  { name: "linuxmusl-x64", target: "x86_64-linux-musl", processor: "x86_64", ...musl, ...x64 },
  { name: "linuxmusl-arm64", target: "aarch64-linux-musl", processor: "aarch64", ...musl, ...arm64 },
  { name: "darwin-x64", target: "x86_64-macos.11.0", processor: "x86_64", ...darwin, ...x64 },
  { name: "darwin-arm64", target: "aarch64-macos.11.0", processor: "arm64", ...darwin, ...arm64 },
  { name: "win32-x64", target: "x86_64-windows-gnu", processor: "AMD64", ...windows, ...x64 },
  { name: "win32-arm64", target: "aarch64-windows-gnu", processor: "ARM64", ...windows, ...arm64 },
];
