// docs/sampling.md has the core's table of sampling parameters, and the types have its names.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { listSamplingParameters, type SamplingOptions, type SamplingParameter } from "../../src/index.js";
import { root } from "../support/fixtures.js";

const read = (name: string) => readFileSync(join(root, "docs", name), "utf8");

function writeRow({ name, option, aliases, least, most, standard, kind, help }: SamplingParameter): string {
  const spellings = [option, ...aliases.split(" ")].filter((word) => word !== "").map((word) => `\`${word}\``);
  const bounds = kind === "texts" ? [`${least} byte`, `${most} bytes`] : [least, most];
  const value = kind === "texts" ? standard.map((text) => `\`${JSON.stringify(text)}\``).join(" ") : standard;
  const cells = [`\`${name}\``, spellings.join(", "), ...bounds, name === "seed" ? "random" : value, help];
  return `| ${cells.join(" | ")} |`.replaceAll("|  |", "| |");
}

test("docs/sampling.md has every row of the table and no other", () => {
  const rows = read("sampling.md")
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  expect(rows).toEqual(listSamplingParameters().map(writeRow));
});

test("docs/library.md names every parameter", () => {
  const missing = listSamplingParameters().filter(({ name }) => !read("library.md").includes(`\`${name}\``));
  expect(missing).toEqual([]);
});

test("the types of the options have the names of the table", () => {
  const typed: Record<Exclude<keyof SamplingOptions, "logitBias">, true> = {
    temperature: true,
    topK: true,
    topP: true,
    minP: true,
    topNSigma: true,
    typicalP: true,
    xtcProbability: true,
    xtcThreshold: true,
    repeatPenalty: true,
    repeatLastN: true,
    presencePenalty: true,
    frequencyPenalty: true,
    dryMultiplier: true,
    dryBase: true,
    dryAllowedLength: true,
    dryPenaltyLastN: true,
    drySequenceBreakers: true,
    dynatempRange: true,
    dynatempExponent: true,
    samplers: true,
    seed: true,
    logprobs: true,
    postSamplingProbs: true,
  };
  expect(listSamplingParameters().map(({ name }) => name)).toEqual(Object.keys(typed));
});
