// Options of llama.cpp's and bitnet.cpp's command lines that mean nothing here, or that are not there.

import { groupOf, type Refusals } from "./option-rows.js";

const onCpu = "everything runs on the CPU";
const fastest = "batches have the size that is fastest";
const ownThreads = "threads are kept on the cores of this process";
const ownLog = "messages go to stderr; --quiet leaves errors alone";
const ownMemory = "keys and values have one way of being kept";
const switches = ["on", "off", "auto", "0", "1"];

/** Accepted with a note, so that their command lines work. */
export const llamaGroup = groupOf("Ignored", {
  gpuLayers: { flags: "--n-gpu-layers <n>", aliases: ["-ngl", "--gpu-layers"], ignored: onCpu, harmless: "0" },
  splitMode: { flags: "--split-mode <mode>", aliases: ["-sm"], ignored: onCpu },
  tensorSplit: { flags: "--tensor-split <list>", aliases: ["-ts"], ignored: onCpu },
  mainGpu: { flags: "--main-gpu <n>", aliases: ["-mg"], ignored: onCpu },
  device: { flags: "--device <names>", aliases: ["-dev"], ignored: onCpu, harmless: "none" },
  kvOffload: { flags: "--kv-offload", aliases: ["-kvo"], negated: "", negatedAliases: ["-nkvo"], ignored: onCpu },
  opOffload: { flags: "--op-offload", negated: "", ignored: onCpu },
  overrideTensor: { flags: "--override-tensor <text>", aliases: ["-ot"], ignored: onCpu },
  cpuMoe: { flags: "--cpu-moe", aliases: ["-cmoe"], ignored: onCpu },
  nCpuMoe: { flags: "--n-cpu-moe <n>", aliases: ["-ncmoe"], ignored: onCpu },
  rpc: { flags: "--rpc <servers>", aliases: ["-rpc"], ignored: onCpu },
  host: { flags: "--no-host", ignored: onCpu, harmless: true },
  fitTarget: { flags: "--fit-target <MiB>", aliases: ["-fitt"], ignored: onCpu },
  fitContext: { flags: "--fit-ctx <n>", aliases: ["-fitc"], ignored: onCpu },
  nCpuFfn: { flags: "--n-cpu-ffn <n>", aliases: ["-ncffn"], ignored: onCpu },
  moeCache: { flags: "--moe-cache-mib <n>", ignored: onCpu },
  backendSampling: { flags: "--backend-sampling", aliases: ["-bs"], ignored: onCpu },
  fit: { flags: "--fit [mode]", aliases: ["-fit"], choices: switches, ignored: onCpu },
  flashAttention: {
    flags: "--flash-attn [mode]",
    aliases: ["-fa"],
    choices: switches,
    ignored: "attention has one form here",
  },
  batchSize: { flags: "-b, --batch-size <n>", ignored: fastest },
  ubatchSize: { flags: "--ubatch-size <n>", aliases: ["-ub"], ignored: fastest },
  threadsBatch: {
    flags: "--threads-batch <n>",
    aliases: ["-tb"],
    ignored: "prompts take as many threads as answers",
  },
  cpuMask: { flags: "--cpu-mask <mask>", aliases: ["-C", "-Cb", "--cpu-mask-batch"], ignored: ownThreads },
  cpuRange: { flags: "--cpu-range <range>", aliases: ["-Cr", "-Crb", "--cpu-range-batch"], ignored: ownThreads },
  cpuStrict: { flags: "--cpu-strict <n>", aliases: ["--cpu-strict-batch"], ignored: ownThreads },
  priority: { flags: "--prio <n>", aliases: ["--prio-batch"], ignored: "nice sets the priority of a process" },
  poll: { flags: "--poll <n>", aliases: ["--poll-batch"], ignored: ownThreads },
  numa: { flags: "--numa <type>", ignored: "numactl places a process on nodes" },
  mlock: { flags: "--mlock", ignored: "weights are copied into memory, where nothing is loaded again" },
  loadMode: { flags: "--load-mode <mode>", aliases: ["-lm"], ignored: "--in-place leaves weights in the file" },
  lazyMode: { flags: "--lazy-mode <mode>", aliases: ["-lzm"], ignored: "--in-place leaves weights in the file" },
  mmap: { flags: "--mmap", negated: "", ignored: "--in-place leaves weights in the file", harmless: false },
  directIo: { flags: "--direct-io", aliases: ["-dio"], ignored: "the file is mapped" },
  repack: { flags: "--repack", negated: "", negatedAliases: ["-nr"], ignored: "--in-place leaves weights as they are" },
  checkTensors: { flags: "--check-tensors", ignored: "" },
  defrag: { flags: "--defrag-thold <n>", aliases: ["-dt"], ignored: ownMemory },
  swaFull: { flags: "--swa-full", ignored: ownMemory },
  kvUnified: {
    flags: "--kv-unified",
    aliases: ["-kvu"],
    negated: "",
    negatedAliases: ["-no-kvu"],
    ignored: ownMemory,
  },
  parallel: { flags: "--parallel <n>", aliases: ["-np"], ignored: "a command is one sequence", harmless: "1" },
  sequences: { flags: "--sequences <n>", aliases: ["-ns"], ignored: "a command is one sequence", harmless: "1" },
  contBatching: {
    flags: "--cont-batching",
    aliases: ["-cb"],
    negated: "",
    negatedAliases: ["-nocb"],
    ignored: "a command is one sequence",
  },
  keep: {
    flags: "--keep <n>",
    ignored: "nothing is shifted out of a full context: a text ends there, a chat forgets its oldest turns",
    harmless: "0",
  },
  contextShift: {
    flags: "--context-shift",
    negated: "",
    ignored: "a text ends where the context is full, a chat forgets its oldest turns",
    harmless: false,
  },
  warmup: { flags: "--warmup", negated: "", ignored: "nothing is run before the prompt", harmless: false },
  perf: { flags: "--perf", negated: "", ignored: "timings are printed unless --quiet is given", harmless: true },
  simpleIo: { flags: "--simple-io", ignored: "a terminal that is none is noticed" },
  displayPrompt: { flags: "--display-prompt", ignored: "" },
  multilineInput: {
    flags: "--multiline-input",
    aliases: ["-mli"],
    ignored: 'a line that ends with \\ goes on, and """ begins a block',
  },
  jinja: { flags: "--jinja", negated: "", ignored: "templates are always read as Jinja", harmless: true },
  reasoningFormat: {
    flags: "--reasoning-format <format>",
    ignored: "thinking is told apart from the answer by what the template says",
    harmless: "auto",
  },
  promptCache: {
    flags: "--prompt-cache <file>",
    ignored: "nothing is kept between runs: a prompt is read anew, within a chat only what is new of it",
  },
  promptCacheAll: { flags: "--prompt-cache-all", ignored: "nothing is kept between runs" },
  promptCacheRo: { flags: "--prompt-cache-ro", ignored: "nothing is kept between runs" },
  logDisable: { flags: "--log-disable", ignored: ownLog },
  logColors: { flags: "--log-colors [when]", choices: switches, ignored: "--color does that" },
  logPrefix: { flags: "--log-prefix", negated: "", ignored: ownLog },
  logTimestamps: { flags: "--log-timestamps", negated: "", ignored: ownLog },
  verbosity: { flags: "--verbosity <n>", aliases: ["-lv", "--log-verbosity"], ignored: ownLog },
});

const fileSays = "the file says how positions are encoded; convert a file that says otherwise";
const noVectors = "there are no control vectors; --lora takes adapters";
const noServer = "that is an option of bitnet serve";
export const noDraft = "there is no speculative decoding";
export const textOnly = "models here read and write text alone";
const noMirostat = "use --temp with --top-p, --min-p or --typical";

/** What to do instead of options that would change the result. */
export const llamaRefusals: Refusals = {
  "--mirostat --mirostat-lr --mirostat-ent --mirostat-eta --mirostat-tau": noMirostat,
  "--tfs --penalize-nl --no-penalize-nl": noMirostat,
  "--adaptive-target --adaptive-decay": noMirostat,
  "--rope-scaling --rope-scale --rope-freq-base --rope-freq-scale": fileSays,
  "--yarn-orig-ctx --yarn-ext-factor --yarn-attn-factor --yarn-beta-slow --yarn-beta-fast": fileSays,
  "--override-kv": "the file's own values are used; --tokenizer-pre replaces the one that is often wrong",
  "--lora-base": "adapters are added to the model as it is; -m names the base",
  "--lora-init-without-apply": "that is for bitnet serve, where requests name adapters",
  "--control-vector --control-vector-scaled --control-vector-layer-range": noVectors,
  "-md --model-draft -hfd --hf-repo-draft --draft --draft-max --draft-min --draft-p-min -cd -ngld -devd": noDraft,
  "-mm --mmproj --mmproj-url --image --audio": textOnly,
  "-gan --grp-attn-n -gaw --grp-attn-w": "the context cannot be longer than the model was trained for",
  "-mu --model-url -dr --docker-repo": "-m takes owner/name of the Hugging Face hub",
  "-hft --hf-token": "set HF_TOKEN, which other processes cannot read as they can a command line",
  "--offline": "set HF_HUB_OFFLINE=1",
  "-bf --binary-file": "use -f FILE",
  "--chat-template-kwargs": "--think and --no-think are the switch that templates have",
  "--reasoning-budget": "--no-think lets the model answer at once",
  "-ins --instruct --chatml -cml": "use -cnv, with --chat-template NAME where the model has none",
  "-if --interactive-first": "use -cnv, or -i",
  "--in-prefix-bos": "use --in-prefix TEXT; names of control tokens in it are those tokens",
  "-sp --special": "control tokens are not part of the text; --json lists the ids of all tokens",
  "-ptc --print-token-count": "the timings at the end count tokens",
  "--all-logits": "use bitnet logits --all",
  "--list-devices": "bitnet version --verbose names the CPU and its kernels",
  "--log-file --logdir -ld": "messages go to stderr: 2> FILE",
  "--completion-bash": "use bitnet completion bash",
  "--usage": "use --help",
  "--version": "use bitnet --version",
  "--license": "see the file LICENSE",
  "-cl --cache-list": "use bitnet list",
  "--host --port --path --api-key --api-key-file --ssl-key-file --ssl-cert-file --threads-http -to --timeout": noServer,
  "-a --alias --metrics --props --slots --no-slots --slot-save-path --cache-reuse --no-webui": noServer,
  "--embedding --embeddings --pooling --embd-normalize --embd-output-format --embd-separator": "use bitnet embed",
  "--rerank --reranking": "documents cannot be ranked here",
  "--infill --spm-infill": "there is no filling in the middle",
};
