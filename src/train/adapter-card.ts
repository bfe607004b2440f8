// README.md of a trained adapter, as the hub shows it: what it belongs to, how it was made and what came of it.

import type { WrittenAdapter } from "../adapter/written.js";

/** What a reader wants to know of a training. */
export interface AdapterCard {
  /** Mean loss of the evaluation data before and after, in nats per token. */
  evalLoss?: { before?: number; after?: number };
  /** What else is told of it, a row each: steps, tokens, time. */
  results?: Record<string, string | number>;
  /** What the training was told, a row each. */
  options?: Record<string, string | number | boolean>;
}

export function formatAdapterCard({ matrices, origin }: WrittenAdapter, card: AdapterCard = {}): string {
  const { baseName = "", baseHash, rslora, dropout = 0 } = origin;
  const ranks = [...new Set(matrices.map(({ rank }) => rank))].join(", ");
  const alphas = [...new Set(matrices.map(({ alpha }) => alpha))].join(", ");
  const adapter = [
    ["rank", ranks],
    ["alpha", rslora ? `${alphas} (rsLoRA)` : alphas],
    ["dropout", dropout],
    ["matrices", matrices.length],
  ] as const;
  return `${[
    ...[
      "---",
      `base_model: ${JSON.stringify(baseName)}`,
      "library_name: peft",
      "tags:",
      "- lora",
      "- bitnet",
      "---",
      "",
    ],
    ...[
      "# Adapter (LoRA)",
      "",
      `Base: \`${inCode(baseName)}\`${baseHash === undefined ? "" : `, hash ${baseHash}`}`,
      "",
    ],
    "The base is a ternary model. The adapter stays beside it: merged into ternary weights, it would be lost by rounding.",
    ...["", "```sh", "bitnet run -m BASE --lora FOLDER -cnv", "```", ""],
    ...formatRows("result", listResults(card)),
    ...formatRows("adapter", adapter),
    ...formatRows("option", Object.entries(card.options ?? {})),
  ].join("\n")}`;
}

function listResults({ evalLoss, results }: AdapterCard): [string, string | number][] {
  const { before, after } = evalLoss ?? {};
  return [
    ...(before === undefined ? [] : [["evaluation loss, base", before.toFixed(4)] as [string, string]]),
    ...(after === undefined ? [] : [["evaluation loss, with the adapter", after.toFixed(4)] as [string, string]]),
    ...Object.entries(results ?? {}),
  ];
}

type Row = readonly [name: string, value: string | number | boolean];

/** A table of Markdown, if it has rows. */
function formatRows(heading: string, rows: readonly Row[]): string[] {
  if (rows.length === 0) {
    return [];
  }
  return [
    `| ${heading} | |`,
    "|---|---|",
    ...rows.map(([name, value]) => `| ${inCell(name)} | ${inCell(value)} |`),
    "",
  ];
}

function inCell(value: string | number | boolean): string {
  return String(value)
    .replace(/[\r\n]+/g, " ")
    .replaceAll("|", "\\|");
}

function inCode(text: string): string {
  return text.replace(/[\r\n`]+/g, " ");
}
