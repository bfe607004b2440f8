// Measures bitnet convert on a synthetic packed checkpoint in the shape of Llama3-8B-1.58 (3.8 GB, four shards), beside
// cp of the same bytes on the same disk in the same run, and its peak memory.
//
//   node scripts/bench-convert.mjs [--layers 32] [--outtype i2_s] [--dir DIR] [--keep]

import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    layers: { type: "string", default: "32" },
    outtype: { type: "string", default: "i2_s" },
    dir: { type: "string", default: join(tmpdir(), "bitnet-bench-convert") },
    keep: { type: "boolean", default: false },
  },
});
const root = fileURLToPath(new URL("..", import.meta.url));
const [hidden, ffn, heads, kvHeads, vocab] = [4096, 14336, 32, 8, 128256];
const layers = Number(values.layers);
const source = join(values.dir, "checkpoint");

/** Name, dtype and shape of every tensor, as Hugging Face saves such a model. */
function* listTensors() {
  yield ["model.embed_tokens.weight", "BF16", [vocab, hidden]];
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `model.layers.${layer}.`;
    const kvWidth = (hidden / heads) * kvHeads;
    const linears = {
      "self_attn.q_proj": [hidden, hidden],
      "self_attn.k_proj": [kvWidth, hidden],
      "self_attn.v_proj": [kvWidth, hidden],
      "self_attn.o_proj": [hidden, hidden],
      "mlp.gate_proj": [ffn, hidden],
      "mlp.up_proj": [ffn, hidden],
      "mlp.down_proj": [hidden, ffn],
    };
    for (const [name, [rows, cols]] of Object.entries(linears)) {
      yield [`${prefix}${name}.weight`, "U8", [rows / 4, cols]];
      yield [`${prefix}${name}.weight_scale`, "BF16", [1]];
    }
    yield [`${prefix}input_layernorm.weight`, "BF16", [hidden]];
    yield [`${prefix}post_attention_layernorm.weight`, "BF16", [hidden]];
  }
  yield ["model.norm.weight", "BF16", [hidden]];
  yield ["lm_head.weight", "BF16", [vocab, hidden]];
}

const sizes = { BF16: 2, U8: 1 };
const bytesOf = ([, dtype, shape]) => shape.reduce((product, n) => product * n, sizes[dtype]);

/** One megabyte that any tensor of the type may be filled with: random codes; floats near 1. */
function fillBlock(dtype) {
  const block = Buffer.alloc(2 ** 20);
  let state = 1;
  for (let i = 0; i < block.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const random = state >>> 8;
    if (dtype === "U8") {
      block[i] = (random % 3) | (((random >> 4) % 3) << 2) | (((random >> 8) % 3) << 4) | (((random >> 12) % 3) << 6);
    } else {
      block[i] = i % 2 === 0 ? random & 255 : 0x3f; // bf16: 0.5 .. 1
    }
  }
  return block;
}

function writeShard(path, tensors) {
  let offset = 0;
  const header = {};
  for (const tensor of tensors) {
    const [name, dtype, shape] = tensor;
    const end = offset + bytesOf(tensor);
    header[name] = { dtype, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = openSync(path, "w");
  writeSync(file, length);
  writeSync(file, json);
  const blocks = { U8: fillBlock("U8"), BF16: fillBlock("BF16") };
  for (const tensor of tensors) {
    for (let left = bytesOf(tensor); left > 0; left -= 2 ** 20) {
      writeSync(file, blocks[tensor[1]], 0, Math.min(left, 2 ** 20));
    }
  }
  fsyncSync(file);
  closeSync(file);
}

function makeCheckpoint() {
  rmSync(values.dir, { recursive: true, force: true });
  mkdirSync(source, { recursive: true });
  const tensors = [...listTensors()];
  const quarter = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0) / 4;
  const shards = [[], [], [], []];
  let done = 0;
  for (const tensor of tensors) {
    shards[Math.min(3, Math.floor(done / quarter))].push(tensor);
    done += bytesOf(tensor);
  }
  const map = {};
  for (const [i, shard] of shards.entries()) {
    const name = `model-0000${i + 1}-of-00004.safetensors`;
    writeShard(join(source, name), shard);
    for (const [tensor] of shard) {
      map[tensor] = name;
    }
  }
  writeFileSync(join(source, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  writeFileSync(join(source, "config.json"), JSON.stringify(config()));
  writeFileSync(join(source, "tokenizer.json"), JSON.stringify(tokenizer()));
}

function config() {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: ffn,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    vocab_size: vocab,
    tie_word_embeddings: false,
    quantization_config: { quant_method: "bitnet" },
  };
}

function tokenizer() {
  const words = Array.from({ length: vocab }, (_, i) => [`t${i}`, i]);
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, use_regex: true };
  return {
    pre_tokenizer: byteLevel,
    decoder: byteLevel,
    model: { type: "BPE", vocab: Object.fromEntries(words), merges: [] },
  };
}

/** Runs a command; returns seconds and, of a child of node, its peak memory. */
function time(command, args) {
  spawnSync("sync");
  const started = performance.now();
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status !== 0) {
    throw new Error(`${command} ended with ${status}: ${stderr}`);
  }
  return (performance.now() - started) / 1000;
}

const convertOnce = `
const { convertCheckpoint } = await import(${JSON.stringify(join(root, "dist", "index.js"))});
const [source, outfile, outtype, result] = process.argv.slice(1);
const { bytes, seconds } = await convertCheckpoint({ source, outfile, outtype });
const { writeFileSync } = await import("node:fs");
writeFileSync(result, JSON.stringify({ bytes, seconds, peak: process.resourceUsage().maxRSS * 1024 }));
`;

makeCheckpoint();
const files = readdirSync(source).map((name) => join(source, name));
const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
const gigabytes = (n) => (n / 1e9).toFixed(2);
console.log(
  `${cpus()[0].model}, ${cpus().length} logical CPUs; checkpoint of ${gigabytes(bytes)} GB in ${layers} layers`,
);
const copySeconds = [];
const convertSeconds = [];
let result;
for (let trial = 0; trial < 3; trial++) {
  const copy = join(values.dir, "copy");
  copySeconds.push(time("sh", ["-c", 'cp -r --sparse=never "$0" "$1" && sync', source, copy]));
  rmSync(copy, { recursive: true });
  const outfile = join(values.dir, "out.gguf");
  const report = join(values.dir, "result.json");
  convertSeconds.push(
    time(process.execPath, ["--input-type=module", "-e", convertOnce, source, outfile, values.outtype, report]),
  );
  result = JSON.parse((await import("node:fs")).readFileSync(report, "utf8"));
  rmSync(outfile);
}
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const [copied, converted] = [median(copySeconds), median(convertSeconds)];
console.log(
  `cp and sync:      ${copied.toFixed(1)} s, ${gigabytes(bytes / copied)} GB/s  (${copySeconds.map((s) => s.toFixed(1)).join(", ")})`,
);
console.log(
  `convert ${values.outtype}: ${converted.toFixed(1)} s, ${gigabytes(bytes / converted)} GB/s  (${convertSeconds.map((s) => s.toFixed(1)).join(", ")}), ${gigabytes(result.bytes)} GB written, verified and flushed`,
);
console.log(`peak memory:      ${Math.ceil(result.peak / 1e6)} MB`);
if (!values.keep && existsSync(values.dir)) {
  rmSync(values.dir, { recursive: true });
}
