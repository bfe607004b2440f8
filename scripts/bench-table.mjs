// Makes the README's table of speeds from the JSON of one run on one machine: ours beside other engines'.
// Usage: node scripts/bench-table.mjs [--write FILE] bitnet=OURS.json [NAME=PEER.json ...]
//
// OURS is what `bitnet bench -o json` wrote, PEER what `llama-bench -o json` wrote. Several files of one name are rounds
// of one engine: their repetitions count together, so that interleaved runs need no other tool. --write puts the table
// between the markers of a file instead of printing it.
import { readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { parseEarlier } from "../dist/bench/compare.js";
import { toMarkdown } from "../dist/bench/report.js";
import { medianOf } from "../dist/bench/stats.js";
import { formatMachine } from "../dist/native/machine.js";

const begin = "<!-- benchmark table: begin (written by a script) -->";
const end = "<!-- benchmark table: end -->";

function fail(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}

function readArguments(args) {
  const write = args[0] === "--write" ? args[1] : undefined;
  const files = (write === undefined ? args : args.slice(2)).map((argument) => {
    const [, name, path] = /^([^=]+)=(.+)$/.exec(argument) ?? fail(`expected NAME=FILE.json but got ${argument}`);
    return { name, path, text: readFileSync(path, "utf8") };
  });
  return { write, files };
}

function parseJson(text, path) {
  try {
    return JSON.parse(text);
  } catch {
    return fail(`${path} is not the output of -o json`);
  }
}

/** Every file must be of the machine that ours was measured on. */
function checkMachine(files) {
  const reports = files.map(({ path, text }) => ({ path, json: parseJson(text, path) }));
  const machine = reports.find(({ json }) => json.machine !== undefined)?.json.machine;
  if (machine === undefined) {
    fail("none of the files is of bitnet bench: no machine is named");
  }
  for (const { path, json } of reports) {
    const cpu = json.machine?.cpu ?? json[0]?.cpu_info;
    if (cpu !== undefined && cpu.trim() !== machine.cpu) {
      fail(`${path} was measured on ${cpu}, not on ${machine.cpu}`);
    }
  }
  return machine;
}

/** { engine, file, threads } -> test -> tokens per second of every repetition. */
function collectRows(files) {
  const rows = new Map();
  for (const { name, path, text } of files) {
    for (const { model, description, test, threads, samples } of parseEarlier(text, path)) {
      const key = JSON.stringify([name, basename(model), threads]);
      const row = rows.get(key) ?? { name, description, model: basename(model), threads, tests: new Map() };
      row.tests.set(test, [...(row.tests.get(test) ?? []), ...samples]);
      rows.set(key, row);
    }
  }
  return [...rows.values()].sort((a, b) => b.threads - a.threads);
}

function formatTable(rows) {
  const tests = [...new Set(rows.flatMap((row) => [...row.tests.keys()]))].sort(compareTests);
  const number = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
  const cell = (samples) =>
    samples === undefined
      ? "-"
      : `${number(medianOf(samples))} [${number(Math.min(...samples))}-${number(Math.max(...samples))}]`;
  const header = ["engine", "build, weights", "file", "threads", ...tests];
  const lines = rows.map((row) => [
    row.name,
    row.description,
    row.model,
    String(row.threads),
    ...tests.map((test) => cell(row.tests.get(test))),
  ]);
  return toMarkdown([header, ...lines], numericColumns(header.length));
}

/** pp128, pp512, pp2048, tg64: prefill first, then by the number of tokens. */
const compareTests = new Intl.Collator("en", { numeric: true }).compare;

function numericColumns(count) {
  return new Set(Array.from({ length: count }, (_, i) => i).filter((i) => i >= 3));
}

const { write, files } = readArguments(process.argv.slice(2));
if (files.length === 0) {
  fail("usage: node scripts/bench-table.mjs [--write FILE] bitnet=OURS.json [NAME=PEER.json ...]");
}
const machine = checkMachine(files);
const text = `Tokens per second, median [lowest-highest]; pp: tokens of a prompt, tg: decoded tokens. Measured in one run on
${formatMachine(machine)}.

${formatTable(collectRows(files))}`;
if (write === undefined) {
  process.stdout.write(text);
} else {
  const document = readFileSync(write, "utf8");
  const [before, rest] = document.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) {
    fail(`${write} has no markers: ${begin} and ${end}`);
  }
  writeFileSync(write, `${before}${begin}\n\n${text}\n${end}${after}`);
}
