// The platforms that the native part is built for, one package each: build-packages.mjs builds them, the published package
// lists them as optional dependencies.

/**
 * name: as src/native/platform.ts calls this system. os, cpu, libc: fields of package.json, by which package managers
 * choose. target: of `zig c++`. system, processor: as CMake calls them.
 */
export const platforms = [
  // glibc 2.17 is of 2012, older than any on which a Node of today starts.
  {
    name: "linux-x64",
    os: "linux",
    cpu: "x64",
    libc: "glibc",
    target: "x86_64-linux-gnu.2.17",
    system: "Linux",
    processor: "x86_64",
  },
  {
    name: "linux-arm64",
    os: "linux",
    cpu: "arm64",
    libc: "glibc",
    target: "aarch64-linux-gnu.2.17",
    system: "Linux",
    processor: "aarch64",
  },
  {
    name: "linuxmusl-x64",
    os: "linux",
    cpu: "x64",
    libc: "musl",
    target: "x86_64-linux-musl",
    system: "Linux",
    processor: "x86_64",
  },
  {
    name: "linuxmusl-arm64",
    os: "linux",
    cpu: "arm64",
    libc: "musl",
    target: "aarch64-linux-musl",
    system: "Linux",
    processor: "aarch64",
  },
  {
    name: "darwin-x64",
    os: "darwin",
    cpu: "x64",
    target: "x86_64-macos",
    system: "Darwin",
    processor: "x86_64",
  },
  {
    name: "darwin-arm64",
    os: "darwin",
    cpu: "arm64",
    target: "aarch64-macos",
    system: "Darwin",
    processor: "arm64",
  },
  {
    name: "win32-x64",
    os: "win32",
    cpu: "x64",
    target: "x86_64-windows-gnu",
    system: "Windows",
    processor: "AMD64",
  },
  {
    name: "win32-arm64",
    os: "win32",
    cpu: "arm64",
    target: "aarch64-windows-gnu",
    system: "Windows",
    processor: "ARM64",
  },
];
