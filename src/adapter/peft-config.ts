// adapter_config.json of PEFT: what scales an adapter, and what it asks for that is not computed here.

import { BitnetError } from "../system/errors.js";

/** What of the configuration a reader needs. */
export interface PeftConfig {
  rank: number;
  alpha: number;
  dropout: number;
  rslora: boolean;
  baseName?: string;
  rankOf(module: string): number;
  alphaOf(module: string): number;
  warnings: string[];
}

/** Keys that are refused unless they have one of these values or are not there, and what they are. */
const refused: readonly (readonly [key: string, what: string])[] = [
  ["use_dora", "DoRA"],
  ["modules_to_save", "modules that are trained whole"],
  ["lora_bias", "biases"],
  ["fan_in_fan_out", "transposed weights"],
  ["trainable_token_indices", "trained tokens"],
  ["target_parameters", "parameters that are no modules"],
  ["layer_replication", "replicated layers"],
  ["alora_invocation_tokens", "an adapter that some tokens switch on"],
  ["use_qalora", "QALoRA"],
  ["arrow_config", "routed adapters"],
];

// Ways to begin that change the weights of the base: the adapter is right only beside those.
const changesBase = /^(pissa|olora|corda|loftq)/i;
const maxText = 200;

/** `name` is what errors call it. Throws BAD_FILE, UNSUPPORTED. */
export function parsePeftConfig(value: unknown, name: string): PeftConfig {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new BitnetError("BAD_FILE", `${name}: an object expected`);
  }
  const config = value as Record<string, unknown>;
  checkKind(config, name);
  const rank = numberOf(config, "r", name);
  const alpha = config.lora_alpha === undefined ? 8 : numberOf(config, "lora_alpha", name); // PEFT's default
  const ranks = patternOf(config, "rank_pattern", name);
  const alphas = patternOf(config, "alpha_pattern", name);
  const init = config.init_lora_weights;
  const base = config.base_model_name_or_path;
  return {
    rank,
    alpha,
    dropout: typeof config.lora_dropout === "number" ? config.lora_dropout : 0,
    rslora: flagOf(config, "use_rslora", name),
    ...(typeof base === "string" && base !== "" && { baseName: base.slice(0, maxText) }),
    rankOf: (module) => ranks(module) ?? rank,
    alphaOf: (module) => alphas(module) ?? alpha,
    warnings:
      typeof init === "string" && changesBase.test(init)
        ? [
            `${name}: init_lora_weights is "${init}", which changes the base; the adapter is right beside that base alone`,
          ]
        : [],
  };
}

function checkKind(config: Record<string, unknown>, name: string): void {
  const shown = (value: unknown) => String(JSON.stringify(value)).slice(0, maxText);
  if (config.peft_type !== "LORA") {
    throw new BitnetError("UNSUPPORTED", `${name}: peft_type is ${shown(config.peft_type)}; only "LORA" is supported`);
  }
  if (config.bias !== undefined && config.bias !== "none") {
    throw new BitnetError("UNSUPPORTED", `${name}: bias is ${shown(config.bias)}; only "none" is supported`);
  }
  for (const [key, what] of refused) {
    const value = config[key];
    const isEmpty = typeof value === "object" && value !== null && Object.keys(value).length === 0;
    if (value !== undefined && value !== null && value !== false && !isEmpty) {
      throw new BitnetError("UNSUPPORTED", `${name}: ${key} is ${shown(value)}: ${what} are not supported`);
    }
  }
}

function numberOf(config: Record<string, unknown>, key: string, name: string): number {
  const value = config[key];
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new BitnetError("BAD_FILE", `${name}: ${key}: a number expected, got ${String(value).slice(0, maxText)}`);
  }
  return value;
}

/** False where it is not there. Anything else would be another scale in silence: "false" is true in Python. */
function flagOf(config: Record<string, unknown>, key: string, name: string): boolean {
  const value = config[key] ?? false;
  if (typeof value !== "boolean") {
    throw new BitnetError(
      "BAD_FILE",
      `${name}: ${key}: true or false expected, got ${String(value).slice(0, maxText)}`,
    );
  }
  return value;
}

/**
 * rank_pattern or alpha_pattern: a name matches modules that are called so or end so, as in PEFT. There a name may be any
 * regular expression; here plain names alone, as an expression of a stranger may take for ever.
 */
function patternOf(config: Record<string, unknown>, key: string, name: string): (module: string) => number | undefined {
  const value = config[key] ?? {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new BitnetError("BAD_FILE", `${name}: ${key}: an object expected`);
  }
  const rows = Object.keys(value).map((pattern) => {
    const plain = /^\^?([\w-]+(?:\\?\.[\w-]+)*)\$?$/.exec(pattern)?.[1];
    if (plain === undefined || pattern.length > maxText) {
      throw new BitnetError(
        "UNSUPPORTED",
        `${name}: ${key} has the expression ${JSON.stringify(pattern.slice(0, maxText))}; plain names alone are supported`,
      );
    }
    const number = numberOf(value as Record<string, unknown>, pattern, `${name}: ${key}`);
    return { plain: plain.replaceAll("\\.", "."), isWhole: pattern.startsWith("^"), number };
  });
  return (module) =>
    rows.find(({ plain, isWhole }) => module === plain || (!isWhole && module.endsWith(`.${plain}`)))?.number;
}
