// What the workflows of the repository name exists, and a release leaves no platform out.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { root } from "../support/fixtures.js";

interface Job {
  steps?: { uses?: string; run?: string }[];
  strategy?: { matrix: { include: { name: string }[] } };
}

const folder = join(root, ".github", "workflows");
const jobsOf = (name: string): Job[] =>
  Object.values((parse(readFileSync(join(folder, name), "utf8")) as { jobs: Record<string, Job> }).jobs);
const files = readdirSync(folder);
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: Record<string, string> };

it.each(files)("%s runs scripts that are there", (name) => {
  const runs = jobsOf(name).flatMap(({ steps = [] }) => steps.map(({ run }) => run ?? ""));
  const paths = runs.flatMap((run) => run.match(/(?<!\w)(?:scripts|test|deploy)\/[\w./-]+\.\w+|\.ci\/run/g) ?? []);
  expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  const commands = runs.flatMap((run) => [...run.matchAll(/npm run ([\w:]+)/g)].map(([, command = ""]) => command));
  expect(commands.filter((command) => !(command in scripts))).toEqual([]);
});

it.each(files)("%s names actions of others by the hash of a commit", (name) => {
  const used = jobsOf(name).flatMap(({ steps = [] }) => steps.flatMap(({ uses }) => uses ?? []));
  expect(used.filter((action) => !/^[\w-]+\/[\w-]+@[0-9a-f]{40}$/.test(action))).toEqual([]);
});

it.each(["ci.yml", "release.yml"])("%s tests every platform that there is a package for", async (name) => {
  const { platforms } = (await import(join(root, "scripts", "platforms.mjs"))) as { platforms: { name: string }[] };
  const tested = jobsOf(name).flatMap(({ strategy }) => strategy?.matrix.include.map((row) => row.name) ?? []);
  expect([...new Set(tested)].sort()).toEqual(platforms.map((row) => row.name).sort());
});
