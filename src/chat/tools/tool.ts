// Tools that a model may call, as OpenAI's interface describes them, and what of them an answer may use. They come from
// clients: names, sizes and depths are bounded here, once.

import type { IgnoredKeyword } from "../../grammar/error.js";
import { type SchemaGrammar, writeSchema } from "../../grammar/schema.js";
import { BitnetError } from "../../system/errors.js";
import type { Plain } from "../template/template.js";

export interface Tool {
  type: "function";
  function: {
    /** 1 to 64 of A-Z, a-z, 0-9, _ and -. */
    name: string;
    description?: string;
    /** A JSON schema of an object. Default: there are none. */
    parameters?: { readonly [keyword: string]: unknown };
    /** false: what of the schema no grammar can hold to is left out and told. By default it is refused. */
    strict?: boolean;
  };
}

/** Which tools an answer may call, and whether it has to: one of `names`, or as `mode` says any number of them. */
export type ToolChoice =
  | "none"
  | "auto"
  | "required"
  | { name: string }
  | { mode: "auto" | "required"; names: readonly string[] };

/** A choice taken apart. */
export interface AllowedTools {
  tools: readonly Tool[];
  /** An answer without a call is none. */
  mustCall: boolean;
  /** At most one call. */
  isSingle: boolean;
}

export const maxTools = 128;
const maxDepth = 160; // a schema has two levels for each of its 64, and examples
const maxCharacters = 512 << 10; // of all tools
const maxShown = 100; // characters of an error about what a client wrote
const noParameters = { type: "object", properties: {} };
const namePattern = /^[A-Za-z0-9_-]{1,64}$/;

/** Tools as a client wrote them. Throws USAGE with the place of what is wrong. */
export function readTools(value: unknown): Tool[] {
  if (!Array.isArray(value)) {
    throw new BitnetError("USAGE", "tools: expected a list");
  }
  if (value.length > maxTools) {
    throw new BitnetError("USAGE", `tools: ${value.length} of them; at most ${maxTools}`);
  }
  const budget = { left: maxCharacters };
  const tools = value.map((tool: unknown, i) => readTool(tool, `tools[${i}]`, budget));
  const names = tools.map((tool) => tool.function.name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new BitnetError("USAGE", `tools: two are called ${twice}`);
  }
  return tools;
}

function readTool(value: unknown, place: string, budget: { left: number }): Tool {
  if (!isRecord(value) || value.type !== "function" || !isRecord(value.function)) {
    throw new BitnetError("USAGE", `${place}: expected {"type": "function", "function": {"name": ...}}`);
  }
  const { name, description, parameters, strict } = value.function;
  if (typeof name !== "string" || !namePattern.test(name)) {
    throw new BitnetError(
      "USAGE",
      `${place}.function.name: expected 1 to 64 of A-Z, a-z, 0-9, _ and -, got ${shown(name)}`,
    );
  }
  const named = `${place} (${name})`;
  if (!isAbsent(description) && typeof description !== "string") {
    throw new BitnetError("USAGE", `${named}: description: expected a text, got ${shown(description)}`);
  }
  if (!isAbsent(parameters) && !isRecord(parameters)) {
    throw new BitnetError("USAGE", `${named}: parameters: expected a JSON schema, got ${shown(parameters)}`);
  }
  if (!isAbsent(strict) && typeof strict !== "boolean") {
    throw new BitnetError("USAGE", `${named}: strict: expected true or false, got ${shown(strict)}`);
  }
  measure(description ?? "", `${named}: description`, "", 0, budget);
  measure(parameters ?? {}, `${named}: parameters`, "", 0, budget);
  return {
    type: "function",
    function: {
      name,
      ...(typeof description === "string" ? { description } : {}),
      ...(isRecord(parameters) ? { parameters } : {}),
      ...(typeof strict === "boolean" ? { strict } : {}),
    },
  };
}

/** USAGE for a value that is nested too deep or has too many characters. */
function measure(value: unknown, subject: string, pointer: string, depth: number, budget: { left: number }): void {
  if (depth > maxDepth) {
    throw new BitnetError("USAGE", `${subject}, ${shorten(pointer)}: nested more than ${maxDepth} levels deep`);
  }
  budget.left -= typeof value === "string" ? value.length : 1;
  if (typeof value === "object" && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      budget.left -= key.length;
      measure(inner, subject, `${pointer}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`, depth + 1, budget);
    }
  }
  if (budget.left < 0) {
    throw new BitnetError("USAGE", `${subject}: all tools together are longer than ${maxCharacters >> 10} KiB`);
  }
}

/** `tool_choice` as OpenAI's interface has it. Throws USAGE. */
export function readToolChoice(value: unknown): ToolChoice {
  if (value === "none" || value === "auto" || value === "required") {
    return value;
  }
  if (isRecord(value) && value.type === "function" && isRecord(value.function)) {
    return { name: readName(value.function.name) };
  }
  if (isRecord(value) && value.type === "allowed_tools") {
    // Chat completions have them within an object, responses beside the type.
    const { mode, tools } = isRecord(value.allowed_tools) ? value.allowed_tools : value;
    if ((mode === "auto" || mode === "required") && Array.isArray(tools)) {
      const names = tools.map((tool: unknown) => {
        const named = isRecord(tool) && isRecord(tool.function) ? tool.function : tool;
        return readName(isRecord(named) ? named.name : undefined);
      });
      return { mode, names };
    }
  }
  throw new BitnetError(
    "USAGE",
    'tool_choice: expected none, auto, required, {"type": "function", "function": {"name": ...}} or ' +
      `{"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}, got ${shown(value)}`,
  );
}

function readName(name: unknown): string {
  if (typeof name !== "string") {
    throw new BitnetError("USAGE", `tool_choice: expected the name of a tool, got ${shown(name)}`);
  }
  return name;
}

/** What a choice leaves. Throws USAGE for a tool that is not there, and where a call is required of none. */
export function allowTools(tools: readonly Tool[], choice: ToolChoice, isParallel: boolean): AllowedTools {
  if (choice === "none") {
    return { tools: [], mustCall: false, isSingle: true };
  }
  if (choice === "auto" || choice === "required") {
    return checkAllowed({ tools, mustCall: choice === "required", isSingle: !isParallel });
  }
  const names = "name" in choice ? [choice.name] : choice.names;
  const chosen = names.map((name) => {
    const tool = tools.find((one) => one.function.name === name);
    if (tool === undefined) {
      throw new BitnetError("USAGE", `tool_choice: there is no tool ${shown(name)}`, {
        hint: `the tools are: ${tools.map((one) => one.function.name).join(", ") || "none"}`,
      });
    }
    return tool;
  });
  return "name" in choice
    ? { tools: chosen, mustCall: true, isSingle: true }
    : checkAllowed({ tools: [...new Set(chosen)], mustCall: choice.mode === "required", isSingle: !isParallel });
}

function checkAllowed(allowed: AllowedTools): AllowedTools {
  if (allowed.mustCall && allowed.tools.length === 0) {
    throw new BitnetError("USAGE", "tool_choice: a call is required, but there are no tools");
  }
  return allowed;
}

/** A keyword of a tool's schema that no grammar can hold to, and that `strict: false` allows to leave out. */
export interface IgnoredParameter extends IgnoredKeyword {
  tool: string;
}

const mostKept = 512;
const longestKept = 32 * 1024; // characters of a schema and of its grammar: all kept ones take some 32 MB at most

/** Grammars of arguments that were written last, by their schemas: requests of a client often have the same tools. */
const written = new Map<string, SchemaGrammar>();

function writeKept(schema: Readonly<Record<string, unknown>>, strict: boolean): SchemaGrammar {
  const key = `${strict} ${keyOf(schema)}`;
  const known = written.get(key);
  const grammar = known ?? writeSchema(schema, { strict });
  written.delete(key);
  if (key.length <= longestKept && grammar.text.length <= longestKept) {
    written.set(key, grammar);
    const [oldest] = written.keys();
    if (written.size > mostKept && oldest !== undefined) {
      written.delete(oldest);
    }
  }
  return grammar;
}

/** What is no JSON gets a key that is too long to be kept; what is wrong with it is told where it is written. */
function keyOf(schema: unknown): string {
  try {
    return JSON.stringify(schema);
  } catch {
    return " ".repeat(longestKept);
  }
}

/** The grammar of a tool's arguments. Throws USAGE with the tool's name and the place in its schema. */
export function writeArguments({ function: { name, parameters, strict = true } }: Tool): {
  text: string;
  ignored: readonly IgnoredParameter[];
} {
  const none = { ...noParameters, additionalProperties: false };
  const schema = parameters === undefined ? none : { type: "object", ...parameters };
  if (schema.type !== "object") {
    throw new BitnetError("USAGE", `tool ${name}: parameters, /type: expected "object", got ${shown(schema.type)}`);
  }
  try {
    const { text, ignored } = writeKept(schema, strict);
    return { text, ignored: ignored.map((keyword) => ({ tool: name, ...keyword })) };
  } catch (cause) {
    if (!(cause instanceof BitnetError)) {
      throw cause;
    }
    const reason = cause.message.replace(/^schema(?=[,:])/, "parameters");
    const hint = cause.hint ?? (strict ? "with strict: false it is left out where that is possible" : undefined);
    throw new BitnetError("USAGE", `tool ${name}: ${reason}`, { hint, cause });
  }
}

/** What templates are given: some fail where a description or parameters lack. */
export function toPlain(tools: readonly Tool[]): Plain[] {
  return tools.map(({ type, function: { name, description = "", parameters = noParameters } }) => ({
    type,
    function: { name, description, parameters: parameters as { readonly [keyword: string]: Plain } },
  }));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** null is a field that is not there. */
function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null;
}

/** A value of a client in an error: one line, not long, and never in full where it is nested. */
function shown(value: unknown): string {
  return typeof value === "object" && value !== null
    ? Array.isArray(value)
      ? "a list"
      : "an object"
    : shorten(JSON.stringify(value) ?? "nothing");
}

function shorten(text: string): string {
  return text.length > maxShown ? `${text.slice(0, maxShown)}...` : text;
}
