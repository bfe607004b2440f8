// Checks the format of the C++ sources with clang-format, or rewrites them with --write. Says so if it is not installed.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { CPP, sourceFiles } from "./source-files.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const files = ["native", "test/native", "test/fuzz"].flatMap((folder) => sourceFiles(root, folder, CPP));

if (spawnSync("clang-format", ["--version"]).status !== 0) {
  console.error("clang-format is not installed: the format of the C++ sources was not checked");
} else {
  const mode = process.argv.includes("--write") ? ["-i"] : ["--dry-run", "-Werror"];
  process.exit(spawnSync("clang-format", [...mode, ...files], { cwd: root, stdio: "inherit" }).status ?? 1);
}
