// What can be set for the answers of a chat: one row per number that the server takes.

export interface Parameter {
  name: string;
  label: string;
  /** The server refuses what lies outside. */
  min: number;
  max: number;
  step: number | "any";
  about: string;
  /** Without one of the server the placeholder says this. */
  placeholder?: string;
}

export const parameters: readonly Parameter[] = [
  {
    name: "temperature",
    label: "Temperature",
    min: 0,
    max: 100,
    step: "any",
    about: "0 always takes the likeliest token",
  },
  {
    name: "top_p",
    label: "Top P",
    min: 0,
    max: 1,
    step: "any",
    about: "the likeliest tokens that have this probability together",
  },
  { name: "top_k", label: "Top K", min: 0, max: 1_000_000, step: 1, about: "the K likeliest tokens; 0 is all" },
  {
    name: "min_p",
    label: "Min P",
    min: 0,
    max: 1,
    step: "any",
    about: "at least this part of the likeliest token's probability",
  },
  { name: "typical_p", label: "Typical P", min: 0, max: 1, step: "any", about: "tokens of typical surprise; 1 is all" },
  { name: "repeat_penalty", label: "Repeat penalty", min: 0.001, max: 1000, step: "any", about: "1 is none" },
  {
    name: "repeat_last_n",
    label: "Repeat window",
    min: -1,
    max: 1_000_000,
    step: 1,
    about: "tokens that the penalty looks back at",
  },
  { name: "presence_penalty", label: "Presence penalty", min: -10, max: 10, step: "any", about: "0 is none" },
  { name: "frequency_penalty", label: "Frequency penalty", min: -10, max: 10, step: "any", about: "0 is none" },
  {
    name: "max_tokens",
    label: "Longest answer",
    min: 1,
    max: 1_000_000,
    step: 1,
    about: "in tokens",
    placeholder: "to the end of the context",
  },
  {
    name: "seed",
    label: "Seed",
    min: 0,
    max: 4_294_967_295,
    step: 1,
    about: "the same seed gives the same answer",
    placeholder: "random",
  },
];

export interface Settings {
  system: string;
  /** By name of the parameter; absent: the server's default. */
  values: Record<string, number>;
  /** A JSON schema that answers are held to, as it was typed; "" for none. */
  schema: string;
  /** Answers come with the probabilities of their tokens. */
  probabilities: boolean;
}

export const noSettings: Settings = { system: "", values: {}, schema: "", probabilities: false };

/** What the text of a field means, or what is wrong with it. */
export function readParameter(row: Parameter, text: string): number | undefined | string {
  if (text.trim() === "") {
    return undefined;
  }
  const value = Number(text);
  if (!isWithin(row, value)) {
    return `${row.step === 1 ? "a whole number" : "a number"} from ${row.min} to ${row.max}`;
  }
  return value;
}

function isWithin(row: Parameter, value: unknown): value is number {
  return (
    typeof value === "number" && value >= row.min && value <= row.max && (row.step !== 1 || Number.isSafeInteger(value))
  );
}

/** Undefined if it is a JSON object, else what is wrong. */
export function schemaProblem(text: string): string | undefined {
  if (text.trim() === "") {
    return undefined;
  }
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? undefined : "not a JSON object";
  } catch (error) {
    return error instanceof Error ? error.message : "not JSON";
  }
}

const longestText = 1_000_000;

/** Settings from a file or an earlier version: what they do not have, or have wrongly, is left as it is by default. */
export function readSettings(value: unknown): Settings {
  if (typeof value !== "object" || value === null) {
    return noSettings;
  }
  const from: Partial<Record<keyof Settings, unknown>> = value;
  const values: Record<string, number> = {};
  if (typeof from.values === "object" && from.values !== null) {
    const given = new Map<string, unknown>(Object.entries(from.values));
    for (const row of parameters) {
      const one = given.get(row.name);
      if (isWithin(row, one)) {
        values[row.name] = one;
      }
    }
  }
  const text = (one: unknown) => (typeof one === "string" ? one.slice(0, longestText) : "");
  return { system: text(from.system), values, schema: text(from.schema), probabilities: from.probabilities === true };
}
