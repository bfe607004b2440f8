// The options that commands share: one row each, in groups that read as options of the library.

import { embeddingTypes, matrixTypes, namesOf } from "../convert/types.js";
import { weightLayouts } from "../engine/layouts.js";
import type { ModelInfo, SessionOptions } from "../engine/model.js";
import {
  type GenerateOptions,
  listSamplingParameters,
  type SamplingOptions,
  type SamplingParameter,
} from "../engine/request.js";
import { bundledModel } from "../models/bundled.js";
import { groupOf, type OptionRow, type OptionRows, type RowValues } from "./option-rows.js";
import {
  collectBias,
  collectText,
  collectTextOrNone,
  integerFrom,
  numberFrom,
  parseCacheType,
  parseLayout,
  parseSamplerLetters,
  parseSamplers,
  typeFrom,
  unescapeText,
} from "./parsers.js";

/** A row with another help text: what the option means is the same, what it is for in this command is not. */
export function withHelp<R extends OptionRow>(row: R, help: string): R {
  return { ...row, help };
}

const threads = {
  flags: "-t, --threads <n>",
  help: "threads (default: the physical cores)",
  parse: integerFrom(1, 1024),
} as const;

/** Where a model lies and how it is loaded: the keys but `path` are those of LoadOptions. */
export const modelRows = {
  path: {
    flags: "-m, --model <model>",
    help: "the model: a GGUF file, a name of bitnet list, 2b, owner/name (default: the bundled one)",
  },
  threads,
  kernel: {
    flags: "--kernel <name>",
    help: "kernels to use, such as scalar (default: BITNET_KERNEL, else the best that this CPU has)",
    variable: false,
  },
  layout: {
    flags: "--layout <name>",
    help: "how ternary weights lie in memory (default: BITNET_LAYOUT, else auto)",
    variable: false,
    choices: ["auto", ...weightLayouts],
    parse: parseLayout,
  },
  tokenizerPre: {
    flags: "--tokenizer-pre <name>",
    help: "pre-tokenizer to use instead of the one that the model names",
  },
  kernelConfig: {
    flags: "--kernel-config <file>",
    help: "kernel_config.ini with tile sizes of TL1 and TL2 (default: those of the file; in a new file, by the shapes)",
  },
  fastHead: {
    flags: "--no-fast-head",
    help: "no compact copy of a large float head: less memory, slower, the same results",
  },
  inPlace: { flags: "--in-place", help: "leave weights in the file's pages: shared between processes, slower" },
} as const satisfies OptionRows;

/** A model of the Hugging Face hub, as llama.cpp's programs name it. */
export const hubRows = {
  hubModel: {
    flags: "--hf-repo <repo>",
    help: "the same for a model of the Hugging Face hub: owner/name[:type]",
    aliases: ["-hf", "-hfr", "-hr"],
  },
  hubFile: {
    flags: "--hf-file <file>",
    help: "which file of that repository",
    aliases: ["-hff"],
  },
} as const satisfies OptionRows;

/** The two arguments of loadModel; the bundled model, if none is named. */
export function readModel<T extends { path?: string }>(values: T): { path: string; load: Omit<T, "path"> } {
  const { path = bundledModel.path, ...load } = values;
  return { path, load };
}

/** The keys are those of SessionOptions. */
export const sessionRows = {
  contextSize: {
    flags: "-c, --ctx-size <n>",
    help: "context in tokens; 0: what the model was trained for (default: 2048)",
    parse: integerFrom(0),
  },
  cacheType: {
    flags: "--cache-type <type>",
    help: "keys and values: f16, or q8 for half the memory and more speed at a long context (default: f16)",
    parse: parseCacheType,
    aliases: ["-ctk", "-ctv", "--cache-type-k", "--cache-type-v"],
  },
} as const satisfies OptionRows;

const defaultContextSize = 2048;

/** What was asked for, as far as the model goes; `say` is told where it goes less far, and what its file says wrongly. */
export function readSession(
  { contextSize, cacheType }: RowValues<typeof sessionRows>,
  { contextLength: trained, warnings }: Pick<ModelInfo, "contextLength" | "warnings">,
  say: (text: string) => void,
): SessionOptions {
  for (const warning of warnings) {
    say(warning);
  }
  const asked = contextSize === 0 ? trained : contextSize;
  if (asked !== undefined && asked > trained) {
    say(`-c ${asked} is more than the ${trained} tokens that the model was trained for; using ${trained}`);
  }
  return { contextSize: Math.min(asked ?? defaultContextSize, trained), cacheType };
}

/** The sampling options of the core's table, under the names that the library has for them, and what goes with them. */
export function samplingGroup() {
  return groupOf("Sampling", {
    ...samplingRows(),
    samplingSeq: {
      flags: "--sampling-seq <letters>",
      help: "the same by letters: e, d, s, k, y, p, m, x, t",
      aliases: ["--sampler-seq"],
      parse: parseSamplerLetters,
    },
    logitBias: {
      flags: "-l, --logit-bias <id+bias>",
      help: "add to a token's logit: 15043+1, 15043-inf; repeatable",
      parse: collectBias,
    },
    seed: {
      flags: "-s, --seed <n>",
      help: "same seed, same text; -1: random (default: -1)",
      parse: integerFrom(-1, Number.MAX_SAFE_INTEGER),
    },
  });
}

export interface ParsedRow<T> extends OptionRow {
  parse(text: string, earlier?: T): T;
}

type SamplingValue<N extends SamplingParameter["name"]> = NonNullable<SamplingOptions[N]>;
type SamplingRows = {
  [N in Exclude<SamplingParameter["name"], "seed" | "logprobs" | "postSamplingProbs">]: ParsedRow<SamplingValue<N>>;
};

function samplingRows(): SamplingRows {
  const rows = listSamplingParameters()
    .filter(({ option }) => option !== "")
    .map((parameter) => {
      const { name, option, aliases, help } = parameter;
      const row: OptionRow = {
        flags: option,
        help: `${help} (default: ${describeStandard(parameter)})`,
        parse: parserOf(parameter),
        aliases: aliases.split(" ").filter((alias) => alias !== ""),
      };
      return [name, row];
    });
  return Object.fromEntries(rows) as SamplingRows;
}

function describeStandard({ standard }: SamplingParameter): string {
  return typeof standard === "number"
    ? String(Number(standard.toPrecision(6))) // of a float
    : standard.map((text) => (/^\w+$/.test(text) ? text : JSON.stringify(text))).join(" ");
}

function parserOf({ name, kind, least, most }: SamplingParameter): (text: string, earlier?: string[]) => unknown {
  if (name === "samplers") {
    return parseSamplers;
  }
  switch (kind) {
    case "whole":
      return integerFrom(least, most);
    case "real":
      return numberFrom(least, most);
    case "texts":
      return collectTextOrNone;
  }
}

/** What ends a text. The keys are those of GenerateOptions. */
export const generationRows = {
  maxTokens: {
    flags: "-n, --n-predict <n>",
    help: "tokens to generate; -1 or -2: no limit but the context (default: 128)",
    parse: integerFrom(-2),
    aliases: ["--predict"],
  },
  ignoreEos: { flags: "--ignore-eos", help: "do not end before -n tokens" },
  stop: {
    flags: "-r, --stop <text>",
    help: "end at this text, which is not printed; repeatable",
    parse: collectText,
    aliases: ["--reverse-prompt"],
  },
  escape: {
    flags: "-e, --escape",
    help: 'process \\n, \\t, \\" and the like in -p and --stop',
    standard: true,
    negated: "take -p and --stop as they are",
  },
} as const satisfies OptionRows;

export interface GenerationValues {
  model: { path?: string };
  generation: RowValues<typeof generationRows>;
  sampling: RowValues<ReturnType<typeof samplingGroup>["rows"]>;
}

/** What both groups mean for the library; `maxTokens` is for who does not say. */
export function readGeneration(
  { model, generation, sampling }: GenerationValues,
  { maxTokens }: { maxTokens: number },
): GenerateOptions {
  const { stop = [], ignoreEos } = generation;
  const { samplingSeq, ...parameters } = sampling;
  const values = { ...parameters, samplers: parameters.samplers ?? samplingSeq, stop, ignoreEos };
  return {
    ...(generation.escape ? unescapeTexts(values) : values),
    temperature: sampling.temperature ?? (model.path === undefined ? bundledModel.temperature : undefined),
    seed: sampling.seed === -1 ? undefined : sampling.seed,
    maxTokens: Math.max(generation.maxTokens ?? maxTokens, -1),
    parseSpecial: true, // as llama-cli: a prompt may name control tokens
  };
}

/** The values with escapes processed in those that are lists of texts. */
function unescapeTexts<T extends object>(values: T): T {
  const unescaped = Object.entries(values).map(([name, value]: [string, unknown]) => [
    name,
    Array.isArray(value) ? value.map(String).map(unescapeText) : value,
  ]);
  return Object.fromEntries(unescaped) as T;
}

export const chatRows = {
  conversation: {
    flags: "--conversation",
    help: "talk with the model; -p is the system prompt, -n limits one answer",
    aliases: ["-cnv", "-i", "--interactive"],
    negated: "go on with the prompt, also where a chat would be opened",
    negatedAliases: ["-no-cnv"],
  },
  singleTurn: { flags: "--single-turn", help: "one answer to -p, and the end", aliases: ["-st"] },
  systemPrompt: {
    flags: "--system-prompt <text>",
    help: "system prompt of a chat, whose first message -p is then",
    aliases: ["-sys"],
  },
  systemFile: { flags: "--system-prompt-file <file>", help: "the same from a file", aliases: ["-sysf"] },
  inPrefix: { flags: "--in-prefix <text>", help: "text before each message, in the place of a chat format" },
  inSuffix: { flags: "--in-suffix <text>", help: "text after each message, in the place of a chat format" },
  chatTemplate: {
    flags: "--chat-template <name>",
    help: "chat format by name, or a Jinja file (default: the model's own)",
    aliases: ["--chat-template-file"],
  },
  think: {
    flags: "--think",
    help: "let the model think before it answers, if its template leaves the choice",
    negated: "let it answer at once",
  },
  hideThinking: { flags: "--hide-thinking", help: "do not show what it thinks" },
  history: {
    flags: "--history <file>",
    help: "where typed lines are kept (default: ~/.bitnet/history)",
    negated: "keep no typed lines",
  },
} as const satisfies OptionRows;

export const outputRows = {
  json: { flags: "--json", help: "print one JSON object instead of text" },
  quiet: { flags: "--quiet", help: "nothing on stderr but errors" },
} as const satisfies OptionRows;

/** What every command has. */
export const generalGroup = groupOf("General", {
  config: {
    flags: "--config <file>",
    help: "JSON or YAML file with options, see docs/command-line.md (default: ~/.config/bitnet/config.json, if it is there)",
  },
  color: {
    flags: "--color [when]",
    aliases: ["-co"],
    help: "colours in what is printed for people",
    choices: ["auto", "always", "never", "on", "off"],
    negated: "the same as --color never",
  },
  verbose: { flags: "-v, --verbose", help: "print the stack of an error", variable: false },
});

/** What is written into a GGUF file. The names are those of the core's types. */
export function fileTypeRows() {
  return {
    outtype: {
      flags: "--outtype <type>",
      help: `type of the ternary matrices: ${namesOf(matrixTypes())}`,
      parse: typeFrom(matrixTypes()),
      standard: "i2_s",
    },
    embeddingType: {
      flags: "--embedding-type <type>",
      help: `type of the token embedding: ${namesOf(embeddingTypes())}`,
      parse: typeFrom(embeddingTypes()),
    },
    outputType: {
      flags: "--output-tensor-type <type>",
      help: "type of the head, where it is not shared; the same ones (default: as the embedding)",
      parse: typeFrom(embeddingTypes()),
    },
    modelName: { flags: "--model-name <name>", help: "name in the file (default: that of the source)" },
  } as const satisfies OptionRows;
}

export const folderRows = {
  modelDir: {
    flags: "--model-dir <dir>",
    help: "folder of models (default: BITNET_MODELS, else ~/.local/share/bitnet/models; models/ here is seen, too)",
    aliases: ["-md"],
  },
} as const satisfies OptionRows;
