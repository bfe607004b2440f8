// Checks an addon by itself, in any Node: node scripts/test-addon.mjs ADDON [--golden FOLDER] [--model FILE] [--out FILE]
// Every kernel that this CPU can run must multiply as the scalar one does, in every layout, and give the golden logits of
// the models of FOLDER (test/fixtures/golden). The text of --model must be the same with each. The result is JSON.

import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const layouts = ["i2_s", "trits", "pairs", "triples"];
/** Relative distance that is right, of one token and of prompts: see test/fixtures/golden/README.md. */
const bounds = { exact: 5e-4, bound: 0.08 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { golden: { type: "string" }, model: { type: "string" }, out: { type: "string" } },
});
const addon = createRequire(import.meta.url)(resolve(positionals[0]));
const kernels = addon.kernels().flatMap(({ name, supported }) => (supported ? [name] : []));

async function multiplyWithAll() {
  for (const kernel of kernels) {
    for (const layout of layouts) {
      for (const tokens of [1, 5, 32]) {
        const size = { rows: 96, cols: 512, tokens };
        await addon.timeKernel({ kernel, layout, threads: 2, ...size, bytes: 0, repetitions: 1, seconds: 0.001 });
      }
    }
  }
  return layouts;
}

function readFloats(path) {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** RMS of the difference over RMS of what is expected. */
function distance(actual, expected) {
  let [difference, size] = [0, 0];
  for (const [i, value] of expected.entries()) {
    difference += (actual[i] - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}

/** The largest distances of a kernel from the golden logits; throws if one is too large. */
async function compareGolden(folder, kernel) {
  const cases = JSON.parse(readFileSync(join(folder, "golden.json"), "utf8"));
  const worst = { cases: 0, exact: 0, bound: 0 };
  for (const file of new Set(cases.map(({ model }) => model))) {
    if (!existsSync(join(folder, file))) {
      continue;
    }
    const model = await addon.loadModel(join(folder, file), { kernel, threads: 2 });
    for (const { ids, logits, kind } of cases.filter(
      (one) => one.model === file && existsSync(join(folder, one.logits)),
    )) {
      const session = model.createSession({ contextSize: 128 });
      await session.prefill(Int32Array.from(ids), "all");
      const far = distance(session.logits(), readFloats(join(folder, logits)));
      session.close();
      worst.cases += 1;
      worst[kind] = Math.max(worst[kind], far);
      if (!(far <= bounds[kind])) {
        throw new Error(`${kernel}: the logits of ${file}, ${logits}, are ${far} from the golden ones`);
      }
    }
    model.close();
  }
  return worst;
}

/** The likeliest tokens after a prompt, as text. */
async function writeText(path, kernel) {
  const model = await addon.loadModel(path, { kernel, threads: 2 });
  const session = model.createSession({ contextSize: 128 });
  const tokens = [...model.tokenizer.encode("Once upon a time", true, false)];
  for (let i = 0; i < 48; i++) {
    await session.prefill(Int32Array.from(tokens), "last");
    const logits = session.logits();
    tokens.push(logits.indexOf(Math.max(...logits)));
  }
  const text = Buffer.from(model.tokenizer.decode(Int32Array.from(tokens), false)).toString();
  session.close();
  model.close();
  return text;
}

async function testAddon() {
  const result = {
    node: process.version,
    platform: process.platform,
    arch: process.arch,
    ...addon.buildInfo(),
    kernels,
  };
  result.selfTest = await multiplyWithAll();
  if (values.golden !== undefined) {
    result.golden = {};
    for (const kernel of kernels) {
      result.golden[kernel] = await compareGolden(values.golden, kernel);
    }
  }
  if (values.model !== undefined) {
    const texts = [];
    for (const kernel of kernels) {
      texts.push(await writeText(values.model, kernel));
    }
    if (new Set(texts).size > 1) {
      throw new Error(`the kernels write different texts: ${JSON.stringify(texts)}`);
    }
    result.textHash = createHash("sha256").update(texts[0]).digest("hex");
    result.text = texts[0];
  }
  return result;
}

let result;
try {
  result = { passed: true, ...(await testAddon()) };
} catch (error) {
  result = { passed: false, kernels, error: error.message };
  process.exitCode = 1;
}
const text = `${JSON.stringify(result, null, 2)}\n`;
if (values.out === undefined) {
  process.stdout.write(text);
} else {
  writeFileSync(values.out, text); // Node's standard output does not work under Wine
}
