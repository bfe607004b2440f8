// Asks a model the chats of a test file of make-training-data.mjs and counts right answers, for each kind.
//   node scripts/check-answers.mjs MODEL OUT/test.jsonl [--wrong 20]
//
// An answer is right if it has all words that it must have, or is the answer letter for letter where the words are its whole.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { loadModel } from "../dist/index.js";

const plain = (text) =>
  ` ${text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, " ")
    .trim()} `;

function isRight(answer, { answer: expected, must }) {
  return must.length === 1 && must[0] === expected
    ? plain(answer) === plain(expected)
    : must.every((words) => plain(answer).includes(plain(words)));
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { wrong: { type: "string", default: "0" } },
  });
  const [path, file] = positionals;
  if (path === undefined || file === undefined) {
    console.error("usage: node scripts/check-answers.mjs MODEL TEST.jsonl [--wrong N]");
    process.exitCode = 2;
    return;
  }
  const model = await loadModel(path);
  const counts = new Map();
  let shown = 0;
  for (const line of readFileSync(file, "utf8").trimEnd().split("\n")) {
    const test = JSON.parse(line);
    const chat = model.createChat({
      messages: test.messages.slice(0, -1),
      generate: { temperature: 0, maxTokens: 200 },
    });
    const { text } = await chat.send(test.messages.at(-1).content).result;
    const [right, all] = counts.get(test.kind) ?? [0, 0];
    counts.set(test.kind, [right + (isRight(text, test) ? 1 : 0), all + 1]);
    if (!isRight(text, test) && shown++ < Number(values.wrong)) {
      console.log(`${test.kind}: ${test.messages.at(-1).content}\n  ${text}\n  expected: ${test.answer}`);
    }
    chat.close();
  }
  let [right, all] = [0, 0];
  for (const [kind, [some, of]] of [...counts].sort()) {
    console.log(`${kind.padEnd(12)} ${String(some).padStart(4)} of ${of}`);
    right += some;
    all += of;
  }
  console.log(`${"all".padEnd(12)} ${String(right).padStart(4)} of ${all} (${((100 * right) / all).toFixed(1)} %)`);
  model.close();
}

await main();
