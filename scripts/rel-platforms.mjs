export const platforms = [
  "linux-x64",
  "linux-arm64",
  "linuxmusl-x64",
  "linuxmusl-arm64",
  "darwin-arm64",
  "darwin-x64",
  "win32-x64",
  "win32-arm64",
].map((name) => ({ name }));
