// What users of bitnet.cpp, llama.cpp and ollama type in the place of a command.

import { basename } from "node:path";

/** Their names for a command whose command lines work here as they are typed. */
const sameCommands: Readonly<Record<string, string>> = {
  run_inference: "run",
  "run-inference": "run",
  "llama-cli": "run",
  "llama-run": "run",
  "llama-completion": "run",
  setup_env: "setup-env",
  e2e_benchmark: "bench",
  "e2e-benchmark": "bench",
  "llama-bench": "bench",
  "convert-hf-to-gguf-bitnet": "convert",
  "convert-ms-to-gguf-bitnet": "convert",
  "convert-helper-bitnet": "convert",
  convert_hf_to_gguf: "convert",
  "generate-dummy-bitnet-model": "dummy",
  quantize: "quantize",
  "llama-quantize": "quantize",
  "llama-tokenize": "tokenize",
};

const noServer = "there is no server here; bitnet run MODEL -cnv is a chat, docs/library.md the way from a program";
const noTiles = "no code is generated here: bitnet convert MODEL --outtype tl1 (or tl2) chooses the tile sizes itself";
const perplexity =
  "there is no perplexity here; bitnet logits -m MODEL -p TEXT --all --out FILE writes what it is made of";

/** What to do instead of a command that is not there. */
const otherCommands: Readonly<Record<string, string>> = {
  run_inference_server: noServer,
  "llama-server": noServer,
  serve: noServer,
  ps: noServer,
  stop: noServer,
  codegen_tl1: noTiles,
  codegen_tl2: noTiles,
  perplexity,
  "llama-perplexity": perplexity,
  test_perplexity: perplexity,
  "preprocess-huggingface-bitnet": "no such step is needed: bitnet convert DIR reads the checkpoint itself",
  quantize_embeddings:
    "bitnet bench -m MODEL --embedding-types all -p 128 -n 0 -o FILE.csv measures; bitnet convert writes one",
  tune_gemm_config: "bitnet tune -m MODEL -t N --quick finds the fastest settings and keeps them",
  test_gemm_kernel: "bitnet bench kernels --shapes gemm --cached -o FILE.csv",
  test_power: "bitnet bench -m MODEL -t 1,2 -o FILE.csv has joules per token, too, where the machine tells them",
  "llama-gguf": "bitnet inspect MODEL.gguf shows what a file holds",
  gguf_dump: "bitnet inspect MODEL.gguf shows what a file holds",
  "gguf-dump": "bitnet inspect MODEL.gguf shows what a file holds",
  "llama-embedding": "embeddings cannot be computed here",
  embed: "embeddings cannot be computed here",
  create: "there are no model files to create: options of bitnet run, or a file for --config, take their place",
  push: "models cannot be published from here; hf upload does it",
  signin: "HF_TOKEN or hf auth login give access to closed models",
  chat: "bitnet run MODEL opens a chat",
  download: "bitnet setup-env OWNER/NAME",
};

/** The name without the folder and the ending of a script: `utils/e2e_benchmark.py`. */
function bareName(typed: string): string {
  return basename(typed).replace(/\.(py|sh|exe)$/, "");
}

/** The command of this program that a name of another one means. */
export function sameCommand(typed: string): string | undefined {
  const name = bareName(typed);
  return Object.hasOwn(sameCommands, name) ? sameCommands[name] : undefined;
}

/** One line for a name that is no command here and that another program has. */
export function insteadOf(typed: string): string | undefined {
  const name = bareName(typed);
  return Object.hasOwn(otherCommands, name) ? otherCommands[name] : undefined;
}

const quantizeSwitches = new Set(["--allow-requantize", "--pure", "--help", "-h"]);
const withoutEffect = new Set(["--allow-requantize", "--pure"]); // what is done anyway

/** llama-quantize's `[OPTION]... IN [OUT] TYPE [THREADS]` as arguments of convert. */
export function quantizeArguments(args: readonly string[]): string[] {
  const options: string[] = [];
  const operands: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (!arg.startsWith("-")) {
      operands.push(arg);
    } else if (!withoutEffect.has(arg)) {
      options.push(arg, ...(quantizeSwitches.has(arg) || arg.includes("=") ? [] : args.slice(++i, i + 1)));
    }
  }
  const [source, ...rest] = operands;
  const hasOutput = /[./\\]/.test(rest[0] ?? "");
  const [outfile, type, threads] = hasOutput ? rest : [undefined, ...rest];
  return [
    ...options,
    ...(source === undefined ? [] : [source]),
    ...(outfile === undefined ? [] : ["--outfile", outfile]),
    ...(type === undefined ? [] : ["--outtype", type]),
    ...(threads === undefined || threads === "0" ? [] : ["--threads", threads]),
  ];
}
