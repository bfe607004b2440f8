#!/usr/bin/env node
// Syntax that old versions of Node can read: only then can they say what is missing.
const version = process.versions.node;
const [major, minor] = version.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 17)) {
  process.stderr.write(
    `error: bitnet needs Node 20.17 or newer, and this is Node ${version}\n` +
      "hint: get a newer one from https://nodejs.org or with a version manager\n",
  );
  process.exitCode = 1;
} else {
  import("../dist/cli/main.js").then(({ main }) => main(process.argv.slice(2)));
}
