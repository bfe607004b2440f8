// deploy/docker/Dockerfile: what an image of it has, what it is allowed, and that a build of it gets all that it copies.
// scripts/image builds and runs it.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { read, valueAfter } from "../support/deploy.js";
import { root } from "../support/fixtures.js";

/** Without comments, with continued lines joined. */
const dockerfile = read("docker", "Dockerfile")
  .replace(/^#.*\n/gm, "")
  .replaceAll("\\\n", " ");
const [head = "", ...stages] = dockerfile.split(/^FROM /m);
const last = stages.at(-1) ?? "";

function instructions(stage: string, name: string): string[] {
  return stage
    .split("\n")
    .filter((line) => line.startsWith(`${name} `))
    .map((line) => line.slice(name.length + 1));
}

function instruction(name: string): string {
  return instructions(last, name).at(-1) ?? "";
}

test("what it stands on has a tag, and can be given with a digest", () => {
  const defaults = instructions(head, "ARG").map((text) => text.split("="));
  expect(defaults).toEqual([
    ["NODE_IMAGE", expect.stringMatching(/^node:\d+-bookworm-slim$/)],
    ["BASE_IMAGE", "debian:bookworm-slim"],
    ["PACKAGES", "build"],
  ]);
  for (const stage of stages) {
    expect(stage).toMatch(
      /^(\$\{NODE_IMAGE\} AS packages-build|\$\{NODE_IMAGE\} AS packages-prebuilt|packages-\$\{PACKAGES\} AS packages|\$\{NODE_IMAGE\} AS app|\$\{BASE_IMAGE\})\n/,
    );
  }
});

test("its last stage runs nothing and has only what it copies: no compiler, no npm, no shell needed", () => {
  expect(instructions(last, "RUN")).toEqual([]);
  expect(instructions(last, "COPY").map((text) => text.split(" ").at(-1))).toEqual([
    "/usr/local/bin/node",
    "/models",
    "/app",
  ]);
  for (const name of ["ENTRYPOINT", "CMD"]) {
    expect(JSON.parse(instruction(name))).toBeInstanceOf(Array);
  }
});

test("runs as nobody in particular, ends by SIGTERM, and asks /livez for its health", () => {
  expect(instruction("USER")).toBe("10001:10001");
  expect(instruction("VOLUME")).toBe("/models");
  expect(instruction("STOPSIGNAL")).toBe("SIGTERM");
  expect(instruction("HEALTHCHECK")).toMatch(/ CMD \["node", "-e", ".*127\.0\.0\.1:8080\/livez/);
});

test("downloads to the volume of the models: /tmp may be memory, and has 1 GiB on Kubernetes", () => {
  const { BITNET_MODELS, HF_HOME } = Object.fromEntries(
    instruction("ENV")
      .trim()
      .split(/\s+/)
      .map((text) => text.split("=")),
  );
  expect(BITNET_MODELS).toBe(instruction("VOLUME"));
  expect(HF_HOME).toMatch(new RegExp(`^${BITNET_MODELS}/`));
});

test("says what it is in the words of the Open Container Initiative", () => {
  const { description, license, repository } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const labels = Object.fromEntries(
    [...instruction("LABEL").matchAll(/org\.opencontainers\.image\.([\w.]+)="([^"]*)"/g)].map((match) =>
      match.slice(1),
    ),
  );
  expect(labels).toMatchObject({ licenses: license, version: `\${VERSION}`, revision: `\${REVISION}` });
  expect(repository.url).toBe(`git+${labels.source}.git`);
  expect(labels.documentation).toMatch(/\/docs\/containers\.md$/);
  expect(readdirSync(join(root, "docs"))).toContain("containers.md");
  expect(labels.description).toContain("1.58-bit");
  expect(description).toContain("1.58-bit");
});

test("says which ports its server has", () => {
  const command = JSON.parse(instruction("CMD")) as string[];
  expect(instruction("EXPOSE").split(" ")).toContain(valueAfter(command, "--port"));
});

test("gets what it builds from and nothing else: no keys, no history, no models but the bundled one", () => {
  const lines = readFileSync(join(root, ".dockerignore"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  expect(lines[0]).toBe("*");
  expect(lines.slice(1).every((line) => line.startsWith("!"))).toBe(true);
  const allowed = lines.slice(1).map((line) => line.slice(1));
  const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const made = /^(!|dist|build\/|models|scripts\/)/; // by the build, or told below
  expect(allowed).toEqual(
    expect.arrayContaining(["src", "scripts", "docs", "package.json", "package-lock.json", "build-packages/*.tgz"]),
  );
  for (const path of (files as string[]).filter((name) => !made.test(name))) {
    expect(allowed).toContain(path);
  }
  expect(allowed.filter((path) => path.startsWith("models"))).toEqual(
    ["README.md", "tiny-bitnet.gguf", "tiny-bitnet.golden.json"].map((name) => `models/${name}`),
  );
  for (const source of stages.flatMap((stage) => instructions(stage, "COPY"))) {
    for (const path of source.startsWith("--from") ? [] : source.split(" ").slice(0, -1)) {
      expect(path === "." || allowed.includes(path)).toBe(true);
    }
  }
});

test("has the packages of --redis, in the versions that are tested", () => {
  const { dependencies } = JSON.parse(read("docker", "package.json"));
  const { devDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  expect(dependencies).toEqual({ bullmq: devDependencies.bullmq, ioredis: devDependencies.ioredis });
});
