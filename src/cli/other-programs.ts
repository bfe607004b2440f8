// What users of bitnet.cpp, llama.cpp and ollama type in the place of a command.

import { basename } from "node:path";

/** Their names for a command whose command lines work here as they are typed; "-" stands for "_", too. */
const sameCommands: Readonly<Record<string, string>> = {
  "run-inference": "run",
  "llama-cli": "run",
  "llama-run": "run",
  "llama-completion": "run",
  "llama-simple": "run",
  "setup-env": "setup-env",
  "e2e-benchmark": "bench",
  "llama-bench": "bench",
  convert: "convert",
  "convert-hf-to-gguf": "convert",
  "convert-hf-to-gguf-bitnet": "convert",
  "convert-ms-to-gguf-bitnet": "convert",
  "convert-bitnet-embedding-to-gguf": "convert",
  "convert-helper-bitnet": "convert",
  "convert-lora-to-gguf": "convert-lora",
  "generate-dummy-bitnet-model": "dummy",
  "run-inference-server": "serve",
  "llama-server": "serve",
  "llama-embedding": "embed",
  server: "serve",
  quantize: "quantize",
  "llama-quantize": "quantize",
  "llama-tokenize": "tokenize",
  "test-perplexity": "perplexity",
  "llama-perplexity": "eval perplexity",
  get: "setup-env",
  install: "setup-env",
  delete: "rm",
  info: "inspect",
  models: "list",
};

const noServer = "a server runs where bitnet serve was started, until it is ended there";
const noTiles = "no code is generated here: bitnet convert MODEL --outtype tl1 (or tl2) chooses the tile sizes itself";
const inspect = "bitnet inspect MODEL.gguf shows what a file holds";
const download = "bitnet pull OWNER/NAME downloads a model; what hf download has fetched is found, too";
const noGpu =
  "everything runs on the CPU: bitnet convert DIR makes a model of a checkpoint, bitnet run MODEL -cnv talks";

/** What to do instead of a command that is not there. */
const otherCommands: Readonly<Record<string, string>> = {
  ps: noServer,
  stop: noServer,
  codegen: noTiles,
  "codegen-tl1": noTiles,
  "codegen-tl2": noTiles,
  "preprocess-huggingface-bitnet": "no such step is needed: bitnet convert DIR reads the checkpoint itself",
  "quantize-embeddings":
    "bitnet bench -m MODEL --embedding-types all -p 128 -n 0 -o FILE.csv measures; bitnet convert writes one",
  "tune-gemm-config": "bitnet tune -m MODEL -t N --quick finds the fastest settings and keeps them",
  "test-gemm-kernel": "bitnet bench kernels --shapes gemm --cached -o FILE.csv",
  "test-power": "bitnet bench -m MODEL -t 1,2 -o FILE.csv has joules per token, too, where the machine tells them",
  "llama-batched-bench": "bitnet bench -m MODEL measures one sequence; examples/ show how a program runs many",
  "llama-imatrix": "ternary weights are exact without one: bitnet convert MODEL --outtype i2_s",
  "llama-gguf-split":
    "a model in several files is read as it is; bitnet convert MODEL-00001-of-N.gguf makes one of them",
  "llama-gguf": inspect,
  "gguf-dump": inspect,
  generate: noGpu,
  "convert-safetensors": noGpu,
  "convert-checkpoint": noGpu,
  create: "there are no model files to create: options of bitnet run, or a file for --config, take their place",
  push: "models cannot be published from here; hf upload does it",
  signin: "HF_TOKEN or hf auth login give access to closed models",
  login: "HF_TOKEN or hf auth login give access to closed models",
  search: "bitnet pull --help lists the known models; others are at https://huggingface.co/models?search=bitnet",
  chat: "bitnet run MODEL opens a chat",
  download,
  "huggingface-cli": download,
  hf: download,
  python: "leave it out: bitnet run -m MODEL -p TEXT is the command itself",
  python3: "leave it out: bitnet run -m MODEL -p TEXT is the command itself",
  start: "bitnet run MODEL opens a chat",
  update: "npm install -g does it; bitnet pull NAME gets a model anew after bitnet rm NAME --cache",
  upgrade: "npm install -g does it; bitnet pull NAME gets a model anew after bitnet rm NAME --cache",
};

/** The name without the folder and the ending of a script, and with one kind of dashes: `utils/e2e_benchmark.py`. */
function bareName(typed: string): string {
  return basename(typed)
    .replace(/\.(py|sh|exe)$/, "")
    .replaceAll("_", "-");
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

/** Options of llama-quantize and of convert that no value follows. */
const quantizeSwitches = new Set(
  (
    "--allow-requantize --pure --leave-output-tensor --keep-split --help -h --json --quiet --verbose -v " +
    "--vocab-only --force --skip-unknown --no-color --use-temp-file --pad-vocab --bigendian --big-endian"
  ).split(" "),
);
const withoutEffect = new Set(["--allow-requantize", "--pure"]); // what is done anyway

/** Numbers that llama-quantize has for types. */
const typeNumbers: Readonly<Record<string, string>> = {
  "0": "F32",
  "1": "F16",
  "32": "BF16",
  "36": "TQ1_0",
  "37": "TQ2_0",
  "38": "TL1",
  "39": "TL2",
  "40": "I2_S",
};

/** As llama-quantize tells its second operand from the name of a file. */
function isTypeName(word: string): boolean {
  return /^(\d+|copy|b?f(16|32)|[a-z]{1,2}\d_[a-z0-9]+(_[a-z]+)?|tl\d|iq\d_bn)$/i.test(word);
}

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
  const hasOutput = rest[0] !== undefined && !isTypeName(rest[0]);
  const [outfile, type, threads] = hasOutput ? rest : [undefined, ...rest];
  return [
    ...options,
    ...(source === undefined ? [] : [source]),
    ...(outfile === undefined ? [] : ["--outfile", outfile]),
    ...(type === undefined ? [] : ["--outtype", typeNumbers[type] ?? type]),
    ...(threads === undefined || threads === "0" ? [] : ["--threads", threads]),
  ];
}
