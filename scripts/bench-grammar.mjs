// Times of grammars, of the processor, with a real vocabulary: node scripts/bench-grammar.mjs TOKENIZER.JSON (of Llama 3: 128,000 tokens).
// Needs `npm run build` and the program mask_bench: cmake --build build-native-tests --target mask_bench.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const [vocabulary] = process.argv.slice(2);
if (vocabulary === undefined) {
  console.error("usage: node scripts/bench-grammar.mjs TOKENIZER.JSON");
  process.exit(2);
}
const place = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const { Grammar } = await import(new URL("../dist/index.js", import.meta.url));
const stepMs = 18; // of decoding with a 2B model, two threads

/** The characters that stand for bytes in vocabularies like GPT-2's. */
function byteCharacters() {
  const bytes = new Map();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const isPlain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    bytes.set(String.fromCodePoint(isPlain ? byte : next++), byte);
  }
  return bytes;
}

function record(value) {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(String(value));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return [length, bytes];
}

function readTokens(path) {
  const byteOf = byteCharacters();
  const { model } = JSON.parse(readFileSync(path, "utf8"));
  return Object.keys(model.vocab).map((token) =>
    Buffer.from([...token].map((character) => byteOf.get(character) ?? 0)),
  );
}

const cases = readFileSync(place("test/fixtures/schemas.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));
const written = []; // ms to write the grammar's text
const records = [];
for (const { schema, values } of cases) {
  try {
    const start = process.cpuUsage();
    const grammar = Grammar.fromJsonSchema(schema);
    const { user, system } = process.cpuUsage(start);
    written.push((user + system) / 1000);
    const texts = values
      .map((value) => JSON.stringify(value))
      .filter((text) => grammar.matches(text))
      .slice(0, 2);
    records.push(...record(grammar.source), ...record(texts.length), ...texts.flatMap((text) => record(text)));
  } catch {
    // refused
  }
}
const tokens = readTokens(vocabulary);
const folder = mkdtempSync(join(tmpdir(), "bench-grammar-"));
const input = join(folder, "input");
writeFileSync(input, Buffer.concat([...record(tokens.length), ...tokens.flatMap(record), ...records]));
const output = execFileSync(place("build-native-tests/mask_bench"), [input], { encoding: "utf8", maxBuffer: 1 << 28 });
rmSync(folder, { recursive: true });

const rows = (kind) =>
  output
    .split("\n")
    .filter((line) => line.startsWith(`${kind} `))
    .map((line) => line.split(" ").slice(1).map(Number));
const masks = rows("mask");
const quantile = (list, q) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(q * list.length))];
const line = (name, list) => {
  const mean = list.reduce((sum, ms) => sum + ms, 0) / list.length;
  const cells = [mean, quantile(list, 0.5), quantile(list, 0.99), Math.max(...list)].map((ms) => ms.toFixed(4));
  return `| ${name} | ${list.length} | ${cells.join(" | ")} | ${((100 * mean) / stepMs).toFixed(2)} % |`;
};
console.log(
  `| ms, ${tokens.length} tokens | n | mean | median | p99 | max | of a step of ${stepMs} ms |\n|---|---|---|---|---|---|---|`,
);
console.log(line("schema to automata", written));
console.log(
  line(
    "all tokens that may follow",
    masks.map(([ms]) => ms),
  ),
);
console.log(
  line(
    "40 candidates",
    masks.map(([, ms]) => ms),
  ),
);
console.log(`\ntree of the vocabulary: ${rows("trie")[0][0]} ms, once per model`);
