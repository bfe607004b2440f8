// One training example, whatever form its line has: a chat, or a text with an untrained beginning.

import { BitnetError } from "../../system/errors.js";
import { maxMessages } from "./limits.js";

/** Where an example stands, for messages about it. */
export interface Origin {
  file: string;
  /** From 1 on. */
  number: number;
  /** What the number counts. */
  unit: "line" | "item" | "document" | "row";
}

export interface TrainingMessage {
  role: string;
  content: string;
  /** Is this answer to be learned? Only answers ever are, unless all tokens are. */
  isTrained: boolean;
}

export type ExampleContent =
  | { kind: "chat"; messages: readonly TrainingMessage[] }
  /** `text` follows `prompt`, which is not trained and may be empty. */
  | { kind: "text"; prompt: string; text: string };

export type Example = ExampleContent & { origin: Origin };

/** data.jsonl, line 3 */
export function placeOf({ file, number, unit }: Origin): string {
  return `${file}, ${unit} ${number}`;
}

type Fields = Readonly<Record<string, unknown>>;

interface Form {
  /** Names that an object of this form has. */
  keys: readonly string[];
  read: (fields: Fields) => ExampleContent;
}

/** The first form whose keys are there is the form of an object. */
const forms: readonly Form[] = [
  { keys: ["messages"], read: ({ messages }) => chat(readMessages(messages, "messages")) },
  {
    keys: ["conversations"],
    read: (fields) => chat([...readSystem(fields), ...readMessages(fields.conversations, "conversations")]),
  },
  { keys: ["prompt", "completion"], read: readCompletion },
  {
    keys: ["instruction", "output"],
    read: (fields) => {
      const input = readOptional(fields, "input");
      const instruction = readText(fields.instruction, "instruction");
      return dialogue(fields, input === "" ? instruction : `${instruction}\n\n${input}`);
    },
  },
  { keys: ["input", "output"], read: (fields) => dialogue(fields, readText(fields.input, "input")) },
  { keys: ["text"], read: ({ text }) => ({ kind: "text", prompt: "", text: readText(text, "text") }) },
];

const formsHint =
  "one of: messages; conversations; prompt and completion; instruction and output (and input); input and output; text";

/** The example that a line of JSON is. Throws BAD_FILE that tells what is wrong with it, not where it stands. */
export function parseExample(value: unknown): ExampleContent {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrong(`expected an object with an example, got ${nameOf(value)}`);
  }
  const fields = value as Fields;
  // Tables of the hub have null in the columns of other forms.
  const form = forms.find(({ keys }) => keys.every((key) => Object.hasOwn(fields, key) && fields[key] !== null));
  if (form === undefined) {
    const keys = Object.keys(fields).slice(0, 12).join(", ").slice(0, 200) || "none";
    throw new BitnetError("BAD_FILE", `no known form of an example: its keys are ${keys}`, { hint: formsHint });
  }
  return form.read(fields);
}

function chat(messages: readonly TrainingMessage[]): ExampleContent {
  return { kind: "chat", messages };
}

/** A question, and the answer in `output`. */
function dialogue(fields: Fields, question: string): ExampleContent {
  const user = { role: "user", content: question, isTrained: false };
  const answer = { role: "assistant", content: readText(fields.output, "output"), isTrained: true };
  return chat([...readSystem(fields), user, answer]);
}

function readSystem(fields: Fields): TrainingMessage[] {
  const content = readOptional(fields, "system");
  return content === "" ? [] : [{ role: "system", content, isTrained: false }];
}

/** Two texts, or two lists of messages, of which only the second one is trained. */
function readCompletion({ prompt, completion }: Fields): ExampleContent {
  if (typeof prompt === "string" && typeof completion === "string") {
    return { kind: "text", prompt, text: completion };
  }
  if (!Array.isArray(prompt) || !Array.isArray(completion)) {
    const got = `${nameOf(prompt)} and ${nameOf(completion)}`;
    throw wrong(`prompt and completion: expected two texts or two lists of messages, got ${got}`);
  }
  const before = readMessages(prompt, "prompt").map((message) => ({ ...message, isTrained: false }));
  return chat([...before, ...readMessages(completion, "completion")]);
}

/** What data sets call the roles. */
const roles: ReadonlyMap<string, string> = new Map([
  ["system", "system"],
  ["developer", "developer"],
  ["user", "user"],
  ["human", "user"],
  ["assistant", "assistant"],
  ["gpt", "assistant"],
  ["model", "assistant"],
  ["bot", "assistant"],
  ["tool", "tool"],
  ["function", "tool"],
]);

function readMessages(value: unknown, key: string): TrainingMessage[] {
  if (!Array.isArray(value)) {
    throw wrong(`${key}: expected a list of messages, got ${nameOf(value)}`);
  }
  if (value.length > maxMessages) {
    throw wrong(`${key}: ${value.length} messages; at most ${maxMessages} are taken`);
  }
  return value.map((message, index) => readMessage(message, `${key}[${index}]`));
}

/** {role, content}, or {from, value} as ShareGPT has it. `weight` 0 leaves an answer out, as in OpenAI's format. */
function readMessage(value: unknown, what: string): TrainingMessage {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrong(`${what}: expected an object with role and content, got ${nameOf(value)}`);
  }
  const fields = value as Fields;
  const given = fields.role ?? fields.from;
  const role = typeof given === "string" ? roles.get(given.toLowerCase()) : undefined;
  if (role === undefined) {
    const shown = typeof given === "string" ? JSON.stringify(given.slice(0, 40)) : nameOf(given);
    throw new BitnetError("BAD_FILE", `${what}: expected a role, got ${shown}`, {
      hint: `one of: ${[...roles.keys()].join(", ")}`,
    });
  }
  refuseUntrainable(fields, what);
  const content = readContent(fields.content ?? fields.value, what);
  return { role, content, isTrained: role === "assistant" && fields.weight !== 0 };
}

/** Parts of an answer that would be left out in silence. */
function refuseUntrainable(fields: Fields, what: string): void {
  for (const key of ["tool_calls", "function_call", "reasoning_content"]) {
    const value = fields[key];
    const isEmpty =
      value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0);
    if (!isEmpty) {
      throw new BitnetError("BAD_FILE", `${what}: ${key} cannot be trained`, {
        hint: "write it into the content as the model is to write it",
      });
    }
  }
}

/** A text, or a list of parts that are texts, as OpenAI's interface has it. */
function readContent(value: unknown, what: string): string {
  if (!Array.isArray(value)) {
    return readText(value, `${what}: content`);
  }
  return value
    .map((part: unknown, index) => {
      const { type, text } = Object(part) as Fields;
      if (type !== "text" || typeof text !== "string") {
        throw wrong(`${what}: content[${index}]: expected a part of the type "text"`);
      }
      return text;
    })
    .join("");
}

function readText(value: unknown, key: string): string {
  if (typeof value !== "string") {
    throw wrong(`${key}: expected a text, got ${nameOf(value)}`);
  }
  return value;
}

/** "" where there is none. */
function readOptional(fields: Fields, key: string): string {
  const value = Object.hasOwn(fields, key) ? fields[key] : undefined;
  return value === undefined || value === null ? "" : readText(value, key);
}

function wrong(message: string): BitnetError {
  return new BitnetError("BAD_FILE", message);
}

function nameOf(value: unknown): string {
  if (value === undefined || value === null) {
    return value === null ? "null" : "nothing";
  }
  return Array.isArray(value) ? "a list" : `${typeof value === "object" ? "an" : "a"} ${typeof value}`;
}
