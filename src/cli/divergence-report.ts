// A comparison of distributions as text: what eval kl, eval perplexity --kl-divergence and compare print.

import type { DivergencePlace, DivergenceResult } from "../eval/divergence.js";
import type { DivergenceStatistics, Percentiles } from "../eval/divergence-sums.js";
import type { Estimate } from "../eval/statistics.js";
import { formatColumns, oneLine } from "./terminal/format.js";
import { isScreen, type OutputStream } from "./terminal/output.js";
import { createProgress } from "./terminal/progress.js";

export function formatEstimate({ value, error }: Estimate, digits: number, unit = ""): string {
  return `${value.toFixed(digits)} +/- ${error.toFixed(digits)}${unit}`;
}

function scaled({ value, error }: Estimate, factor: number): Estimate {
  return { value: value * factor, error: error * factor };
}

const percentileNames: readonly (readonly [keyof Percentiles, string])[] = [
  ["maximum", "maximum"],
  ["p999", "99.9 %"],
  ["p99", "99 %"],
  ["p95", "95 %"],
  ["p90", "90 %"],
  ["median", "median"],
  ["p10", "10 %"],
  ["p5", "5 %"],
  ["p1", "1 %"],
  ["minimum", "minimum"],
];

export function formatDivergence(result: DivergenceResult): string {
  const { perplexity, basePerplexity, lnRatio, ratio, difference, correlation } = result;
  const sections = [
    section("Perplexity", [
      ["PPL(model)", formatEstimate(perplexity, 6)],
      ["PPL(base)", formatEstimate(basePerplexity, 6)],
      ["correlation of -ln p", `${(100 * correlation).toFixed(2)} %`],
      ["ln(PPL(model)/PPL(base))", formatEstimate(lnRatio, 6)],
      ["PPL(model)/PPL(base)", formatEstimate(ratio, 6)],
      ["PPL(model) - PPL(base)", formatEstimate(difference, 6)],
    ]),
    section("KL divergence", [
      ["mean", formatEstimate(result.divergence, 6)],
      ...percentileRows(result.divergencePercentiles, (value) => value.toFixed(6)),
    ]),
    section("Change of the token's probability", [
      ["mean", formatEstimate(scaled(result.change, 100), 3, " %")],
      ["RMS", formatEstimate(scaled(result.changeRms, 100), 3, " %")],
      ...percentileRows(result.changePercentiles, (value) => `${(100 * value).toFixed(3)} %`),
    ]),
    section("Same likeliest token", [["share", formatEstimate(scaled(result.sameTop, 100), 3, " %")]]),
    ...(result.top.length === 0 ? [] : [formatPlaces(result.top)]),
  ];
  return `${sections.join("\n\n")}\n`;
}

function section(title: string, rows: readonly (readonly string[])[]): string {
  return [`${title}`, ...formatColumns(rows, { indent: "  " })].join("\n");
}

function percentileRows(percentiles: Percentiles | undefined, format: (value: number) => string): string[][] {
  return percentiles === undefined ? [] : percentileNames.map(([key, name]) => [name, format(percentiles[key])]);
}

function formatPlaces(places: readonly DivergencePlace[]): string {
  const entries = places.map((place) => {
    const { divergence, chunk, place: at, before, target } = place;
    const name = (text: string) => JSON.stringify(oneLine(text));
    const head = `  ${divergence.toFixed(6)}  chunk ${chunk + 1}, token ${at}: ${name(target)}`;
    return `${head}, base ${name(place.baseLikeliest)}, model ${name(place.likeliest)}\n    after ${name(before)}`;
  });
  return ["Largest divergence", ...entries].join("\n");
}

/** What of the result is no number to be trusted as it stands. */
export function warningsOf({ isBaseExact, floored, scored }: DivergenceResult): string[] {
  if (isBaseExact || floored === 0) {
    return [];
  }
  return [
    `${floored} of ${scored} tokens lie on the floor of the base's file, which has no exact values: PPL(base) is too low ` +
      "and everything that compares it too bad; a base written by bitnet eval perplexity --save-all-logits has them",
  ];
}

export interface DivergenceProgress {
  update(progress: { done: number; total: number; statistics: DivergenceStatistics }): void;
  stop(): void;
}

/** A bar on a terminal, elsewhere a line per window as llama-perplexity prints them. */
export function showDivergence(quiet: boolean | undefined, stream: OutputStream = process.stderr): DivergenceProgress {
  if (quiet) {
    return { update() {}, stop() {} };
  }
  if (isScreen(stream)) {
    const progress = createProgress("comparing", "steps", stream);
    return {
      update: ({ done, total, statistics }) =>
        progress.update(done, total, { name: `KL divergence ${statistics.divergence.value.toFixed(6)}` }),
      stop: () => progress.stop(),
    };
  }
  const heads = ["chunk", "PPL", "ln(PPL(Q)/PPL(base))", "KL divergence", "change RMS", "same top"];
  let hasHead = false;
  return {
    update({ done, statistics: { perplexity, lnRatio, divergence, changeRms, sameTop } }) {
      const cells = [
        String(done),
        formatEstimate(perplexity, 4),
        formatEstimate(lnRatio, 5),
        formatEstimate(divergence, 5),
        formatEstimate(scaled(changeRms, 100), 3, " %"),
        formatEstimate(scaled(sameTop, 100), 3, " %"),
      ];
      stream.write(`${hasHead ? "" : `${heads.join("\t")}\n`}${cells.join("\t")}\n`);
      hasHead = true;
    },
    stop() {},
  };
}
