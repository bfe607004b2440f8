// bitnet plan: what fits into a given memory.

import type { Command } from "commander";
import { openGguf } from "../../gguf/gguf.js";
import { bundledModel } from "../../models/bundled.js";
import { availableMemory } from "../../native/machine.js";
import { type MemoryPlan, planMemory } from "../../serve/plan.js";
import { locateModel } from "../model-argument.js";
import { addOptions, groupOf } from "../option-rows.js";
import { modelRows, outputRows, sessionRows, withHelp } from "../options.js";
import { integerFrom } from "../parsers.js";
import { formatBytes } from "../terminal/format.js";
import { columnsOf, write, writeJson } from "../terminal/output.js";
import { formatTable } from "../terminal/table.js";

const MiB = 2 ** 20;

const groups = {
  plan: groupOf("Plan", {
    path: modelRows.path,
    memoryMiB: {
      flags: "--memory <MiB>",
      help: "what the server may take (default: what is free now)",
      parse: integerFrom(1),
    },
    contextSize: withHelp(sessionRows.contextSize, "context of one request in tokens (default: the largest that fits)"),
    cacheType: sessionRows.cacheType,
    parallel: {
      flags: "--parallel <n>",
      aliases: ["-np"],
      help: "requests at once (default: as many as fit)",
      parse: integerFrom(1, 64),
    },
    json: outputRows.json,
  }),
};

export default function configurePlan(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[model]", "the model, as for -m")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet plan -m model.gguf --memory 2048
  $ bitnet plan -m model.gguf --memory 4096 -c 4096 --cache-type q8`,
    )
    .action(async (named: string | undefined) => {
      const { path, memoryMiB, contextSize, json, ...options } = read().plan;
      const file = (await locateModel(named ?? path)) ?? bundledModel.path;
      const memoryBytes = memoryMiB === undefined ? availableMemory() : memoryMiB * MiB;
      const plan = planMemory(openGguf(file), {
        ...options,
        memoryBytes,
        contextSize: contextSize === 0 ? undefined : contextSize,
      });
      if (json) {
        writeJson(plan);
      } else {
        write(`${describePlan(plan)}\n`);
      }
      process.exitCode = plan.chosen === undefined ? 1 : 0;
    });
}

function describePlan(plan: MemoryPlan): string {
  const { memoryBytes, weightBytes, fixedBytes, tokenBytes, cacheType, chosen, smallestBytes, tips } = plan;
  const lines = [
    `memory     ${formatBytes(memoryBytes)}`,
    `weights    ${formatBytes(weightBytes)}`,
    `program    ${formatBytes(fixedBytes)}, with what a step takes`,
    `context    ${formatBytes(tokenBytes)} a token (${cacheType})`,
    chosen === undefined
      ? `does not fit: the least is ${formatBytes(smallestBytes)}`
      : `fits       ${describeChoice(chosen)}`,
  ];
  const rows = plan.table.map(({ contextSize, parallel }) => [
    String(contextSize),
    parallel.f16 === 0 ? "-" : String(parallel.f16),
    parallel.q8 === 0 ? "-" : String(parallel.q8),
  ]);
  const columns = ["context", "requests at once: f16", "q8"].map((header) => ({ header, numeric: true }));
  const table = formatTable({ columns, rows, width: columnsOf() });
  return [lines.join("\n"), table.join("\n"), ...tips.map((tip) => `tip: ${tip}`)].join("\n\n");
}

function describeChoice({ contextSize, parallel, totalBytes }: NonNullable<MemoryPlan["chosen"]>): string {
  const requests = parallel === 1 ? "1 request" : `${parallel} requests at once`;
  return `${requests}, ${contextSize} tokens each: ${formatBytes(totalBytes)} (-np ${parallel} -c ${contextSize})`;
}
