// Every command line of deploy/ is one that the program takes.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { expect, test } from "vitest";
import { createProgram } from "../../src/cli/program.js";
import { root } from "../support/fixtures.js";
import { readYaml, type Yaml } from "../support/read-yaml.js";

function read(path: string): string {
  return readFileSync(join(root, "deploy", path), "utf8");
}

/** Every list of arguments of a file, at any depth: what stands under `args` or `command` and begins with one of ours. */
function argumentLists(value: Yaml): string[][] {
  if (typeof value !== "object" || value === null) {
    return [];
  }
  return Object.entries(value).flatMap(([key, inner]) =>
    ["args", "command"].includes(key) && Array.isArray(inner) && ["serve", "batch"].includes(String(inner[0]))
      ? [inner.map(String)]
      : argumentLists(inner),
  );
}

function listCommands(): { path: string; words: string[] }[] {
  const [, image = "[]"] = /^CMD (\[.*\])$/m.exec(read("docker/Dockerfile")) ?? [];
  const [, unit = ""] = /^ExecStart=\S*\/bitnet (.*)$/m.exec(read("systemd/bitnet.service")) ?? [];
  const files = ["docker/compose.yaml", "kubernetes/server/deployment.yaml", "kubernetes/batch/job.yaml"];
  return [
    { path: "docker/Dockerfile", words: JSON.parse(image) as string[] },
    { path: "systemd/bitnet.service", words: unit.split(" ") },
    ...files.flatMap((path) =>
      readYaml(read(path))
        .flatMap(argumentLists)
        .map((words) => ({ path, words })),
    ),
  ];
}

/** Kubernetes puts the index of a pod in. */
function withIndex(words: readonly string[]): string[] {
  return words.map((word) => word.replace("$(JOB_COMPLETION_INDEX)", "0"));
}

function disarm(command: Command): void {
  for (const child of command.commands) {
    child.action(() => {});
    disarm(child);
  }
}

test("each file has one", () => {
  expect(listCommands().map(({ path }) => path)).toEqual([
    "docker/Dockerfile",
    "systemd/bitnet.service",
    "docker/compose.yaml",
    "kubernetes/server/deployment.yaml",
    "kubernetes/batch/job.yaml",
  ]);
});

test.each(listCommands())("$path: bitnet $words", async ({ words }) => {
  const { program, args } = await createProgram(withIndex(words));
  disarm(program);
  await program.parseAsync(args, { from: "user" });
});
