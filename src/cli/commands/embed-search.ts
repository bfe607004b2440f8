// bitnet embed search: the texts of a file of vectors that are nearest to a query.

import { basename } from "node:path";
import type { Command } from "commander";
import { embedTexts } from "../../embed/embedder.js";
import { NpyFile } from "../../embed/npy.js";
import { besideNpy } from "../../embed/npy-output.js";
import { readLines } from "../../embed/outputs.js";
import { type SearchHit, searchVectors } from "../../embed/search.js";
import { type CodedInfo, readInfo } from "../../embed/store-info.js";
import { UsageError } from "../command.js";
import { embedModelRows, loadEmbedder, locateEmbedder, prefixOf, promptRows, vectorRows } from "../embed-rows.js";
import { loraRows } from "../lora-rows.js";
import { addOptions, type GroupValues, groupOf } from "../option-rows.js";
import { outputRows } from "../options.js";
import { collectText, integerFrom } from "../parsers.js";
import { oneLine } from "../terminal/format.js";
import { colorsOf, columnsOf, interruptSignal, note, write, writeJson } from "../terminal/output.js";
import { formatTable } from "../terminal/table.js";

const groups = {
  query: groupOf("Query", {
    index: { flags: "--index <file>", help: "a .npy file of bitnet embed, or of numpy" },
    queries: { flags: "-p, --prompt <text>", help: "what to look for; repeatable", parse: collectText },
    top: { flags: "--top <n>", help: "how many of the nearest", parse: integerFrom(1, 10_000), standard: 5 },
  }),
  prompts: groupOf("Prompts", promptRows),
  model: groupOf("Model", embedModelRows),
  lora: groupOf("Adapters", loraRows),
  vectors: groupOf("Vectors", { pooling: vectorRows.pooling, parseSpecial: vectorRows.parseSpecial }),
  output: groupOf("Output", outputRows),
};

type SearchValues = GroupValues<typeof groups>;

export default function configureEmbedSearch(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[query]", "what to look for")
    .addHelpText(
      "after",
      `
The model, the pooling and the dimensions are those that the file was made with, unless others are given.

Examples:
  $ bitnet embed search --index vectors.npy -p "What is BitNet?" --top 5
  $ bitnet embed search --index vectors.npy -p "What is BitNet?" --instruction "Find the passage that answers"`,
    )
    .action(async (operand: string | undefined) => {
      const options = read();
      const queries = [...(options.query.queries ?? []), ...(operand === undefined ? [] : [operand])];
      const { index } = options.query;
      if (index === undefined || queries.length === 0) {
        throw new UsageError("expected --index FILE and a query with -p TEXT", "see bitnet embed search --help");
      }
      await search(options, index, queries);
    });
}

interface Found extends SearchHit {
  text?: string;
}

async function search(options: SearchValues, index: string, queries: readonly string[]): Promise<void> {
  const { query, output, vectors, prompts } = options;
  const signal = interruptSignal();
  const beside = besideNpy(index);
  const info = await readInfo(beside.info);
  await using file = await NpyFile.open(index);
  const named = options.model.path ?? options.model.hubModel;
  const path = await locateEmbedder({ ...options.model, path: named ?? info?.modelPath }, output.quiet);
  await using model = await loadEmbedder(path, {
    model: options.model,
    lora: options.lora,
    quiet: output.quiet,
    signal,
  });
  if (info !== undefined && info.model !== model.fingerprint() && !output.quiet) {
    note(`${basename(index)} was made with another model than ${basename(path)}: distances between them tell nothing`);
  }
  const settings = { ...settingsOf(info, file), ...given(vectors), prefix: prefixOf(model, prompts), signal };
  const found: Found[][] = [];
  for await (const batch of embedTexts(model, queries, settings)) {
    for (const vector of batch.vectors) {
      found.push(await searchVectors(file, vector, { top: query.top, signal, ...codesOf(info) }));
    }
  }
  await addTexts(beside.texts, found.flat());
  if (output.json || columnsOf(process.stdout) === undefined) {
    writeJson({ index, model: path, queries: queries.map((text, i) => ({ query: text, hits: found[i] ?? [] })) });
  } else {
    write(queries.map((text, i) => formatHits(text, found[i] ?? [], queries.length > 1)).join("\n"));
  }
}

/** What was said, but for what was left out. */
function given({ pooling, parseSpecial }: SearchValues["vectors"]) {
  return { ...(pooling === undefined ? {} : { pooling }), ...(parseSpecial ? {} : { parseSpecial }) };
}

/** As the file was made; floats tell how many dimensions there are. */
function settingsOf(info: CodedInfo | undefined, { shape }: NpyFile) {
  const isFloat = shape.type === "float32" || shape.type === "float64";
  const dimensions = info?.dimensions ?? (isFloat ? shape.columns : undefined);
  const pooling = (["mean", "cls", "last"] as const).find((name) => name === info?.pooling);
  return {
    ...(dimensions === undefined ? {} : { dimensions }),
    ...(pooling === undefined ? {} : { pooling }),
    ...(info === undefined ? {} : { parseSpecial: info.parseSpecial }),
  };
}

function codesOf(info: CodedInfo | undefined) {
  if (info === undefined || info.precision === "float32") {
    return {};
  }
  return { precision: info.precision, ...(info.ranges === undefined ? {} : { ranges: info.ranges }) };
}

/** The texts of rows, where they lie beside the vectors. */
async function addTexts(path: string, hits: readonly Found[]): Promise<void> {
  const wanted = new Map<number, Found[]>();
  for (const hit of hits) {
    wanted.set(hit.row, [...(wanted.get(hit.row) ?? []), hit]);
  }
  const count = Math.max(-1, ...wanted.keys()) + 1;
  let row = 0;
  try {
    for await (const line of readLines(path, count, (text) => text)) {
      for (const hit of wanted.get(row) ?? []) {
        hit.text = String(JSON.parse(line));
      }
      row++;
    }
  } catch {
    // A file of numpy's has no texts: rows are told by their numbers.
  }
}

function formatHits(query: string, hits: readonly Found[], isNamed: boolean): string {
  const { bold } = colorsOf(process.stdout);
  const columns = [{ header: "SCORE", numeric: true }, { header: "ROW", numeric: true }, { header: "TEXT" }];
  const rows = hits.map(({ score, row, text = "" }) => [score.toFixed(4), String(row), oneLine(text)]);
  const table = formatTable({ columns, rows, width: columnsOf(process.stdout), headerStyle: bold });
  return `${[...(isNamed ? [bold(oneLine(query))] : []), ...table].join("\n")}\n`;
}
