// What prompts and answers may say: rules of a file, and a module of the operator.

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError, reasonOf } from "../system/errors.js";
import type { Register } from "./context.js";
import { ApiError } from "./errors.js";
import { filterOutput } from "./filter-output.js";
import { type Direction, FilterRules, type Match, replacementOf, withoutOverlaps } from "./filter-rules.js";
import type { ChatPrompt, StageContext, TextPrompt, TextRequest } from "./request.js";

/** What a module says about a text; nothing, true or "allow" is that it may pass. */
export type ModuleVerdict =
  | undefined
  | boolean
  | { action: "allow" | "block" | "flag"; rule?: string }
  | { action: "redact"; text: string; rule?: string };

/** What a module exports. `client` is the same for requests of one client, and tells nothing else. */
export type CheckText = (asked: {
  text: string;
  direction: Direction;
  client: string;
}) => ModuleVerdict | Promise<ModuleVerdict>;

/** A text after all rules. */
export interface Judged {
  text: string;
  /** Name of the rule that it must not pass. */
  blockedBy?: string;
}

/** Told about every rule that a text met. */
export type NoteRule = (name: string, action: string) => void;

// Long texts are looked at in parts, so that others are served meanwhile. A match of up to the overlap is always found.
const partSize = 32_768; // characters
const overlap = 4096;

export class ContentFilter {
  #rules: FilterRules;
  readonly #path: string | undefined;
  readonly #check: CheckText | undefined;

  constructor(path: string | undefined, check?: CheckText) {
    this.#path = path;
    this.#check = check;
    this.#rules = path === undefined ? new FilterRules([], "") : FilterRules.read(path);
  }

  static async open(path: string | undefined, modulePath: string | undefined): Promise<ContentFilter> {
    return new ContentFilter(path, modulePath === undefined ? undefined : await importCheck(modulePath));
  }

  /** Reads the rules anew; throws, and keeps what was there, if they are wrong. */
  reload(): void {
    if (this.#path !== undefined) {
      this.#rules = FilterRules.read(this.#path);
    }
  }

  /** The rules as they are now: those of a request stay the same until its end. */
  get rules(): FilterRules {
    return this.#rules;
  }

  async judge(text: string, direction: Direction, client: string, note: NoteRule): Promise<Judged> {
    const matches = await findAll(this.#rules, text, direction);
    for (const { rule } of matches) {
      note(rule.name, rule.action);
    }
    const blocking = matches.find(({ rule }) => rule.action === "block");
    if (blocking !== undefined) {
      return { text, blockedBy: blocking.rule.name };
    }
    return this.ask(redact(text, matches), direction, client, note);
  }

  /** What the module says. */
  async ask(text: string, direction: Direction, client: string, note: NoteRule): Promise<Judged> {
    if (this.#check === undefined || text === "") {
      return { text };
    }
    const verdict = await this.#check({ text, direction, client });
    if (verdict === undefined || verdict === true || (typeof verdict === "object" && verdict.action === "allow")) {
      return { text };
    }
    const { action = "block", rule = "module" } = verdict === false ? {} : verdict;
    const name = /^[\w.-]{1,64}$/.test(rule) ? rule : "module";
    note(name, action);
    if (action === "block") {
      return { text, blockedBy: name };
    }
    return { text: typeof verdict === "object" && verdict.action === "redact" ? String(verdict.text) : text };
  }
}

async function findAll(rules: FilterRules, text: string, direction: Direction): Promise<Match[]> {
  const matches: Match[] = [];
  for (let begin = 0; begin === 0 || begin < text.length; begin += partSize) {
    const before = begin === 0 ? 0 : 1; // a character that tells whether a word begins
    const part = text.slice(begin - before, begin + partSize + overlap);
    for (const { rule, start, end } of rules.find(part, direction, before)) {
      if (start - before < partSize) {
        matches.push({ rule, start: start - before + begin, end: end - before + begin });
      }
    }
    if (begin + partSize < text.length) {
      await new Promise((next) => setImmediate(next));
    }
  }
  return matches;
}

function redact(text: string, matches: readonly Match[]): string {
  const redacted = withoutOverlaps(matches.filter(({ rule }) => rule.action === "redact"));
  let result = "";
  let from = 0;
  for (const { rule, start, end } of redacted) {
    result += text.slice(from, start) + replacementOf(rule);
    from = end;
  }
  return result + text.slice(from);
}

async function importCheck(path: string): Promise<CheckText> {
  let loaded: { check?: unknown; default?: { check?: unknown } };
  try {
    loaded = await import(pathToFileURL(resolve(path)).href);
  } catch (error) {
    throw new BitnetError("USAGE", `${path}: the module cannot be loaded: ${reasonOf(error)}`, { cause: error });
  }
  const check = loaded.check ?? loaded.default?.check;
  if (typeof check !== "function") {
    throw new BitnetError("USAGE", `${path}: expected a module that exports check({ text, direction, client })`);
  }
  return check as CheckText;
}

export const register: Register = async (_, context) => {
  const { contentFilter, contentFilterModule } = context.options;
  if (contentFilter === undefined && contentFilterModule === undefined) {
    return;
  }
  const filter = await ContentFilter.open(contentFilter, contentFilterModule);
  context.onReload(() => filter.reload());
  context.stages.push(async function* (request, run, next) {
    const client = context.markOf(run.client.id);
    const note = noteOn(run);
    const { tokenizer } = context.service.model;
    const asked = await filterInput(request, tokenizer, (text) => filter.judge(text, "input", client, note));
    yield* filterOutput(next(asked), asked, filter.rules, {
      ask: (text) => filter.ask(text, "output", client, note),
      note,
    });
  });
};

/** Rules are written down with the request, and told in a header while that is possible. */
function noteOn({ notes }: StageContext): NoteRule {
  const told = new Set<string>();
  return (name, action) => {
    notes.rules.add(name);
    told.add(`${name}=${action}`);
    notes.setHeader("x-bitnet-filter", [...told].slice(0, 32).join(", "));
  };
}

async function filterInput(
  request: TextRequest,
  tokenizer: Tokenizer,
  judge: (text: string) => Promise<Judged>,
): Promise<TextRequest> {
  const check = async (text: string): Promise<string> => {
    const { text: passed, blockedBy } = await judge(text);
    if (blockedBy !== undefined) {
      throw new ApiError("invalid_request_error", `the prompt is refused by the content filter (${blockedBy})`, {
        ...{ code: "content_filter", param: fieldOf[request.prompt.kind] },
        shouldRetry: false,
      });
    }
    return passed;
  };
  const { prompt } = request;
  switch (prompt.kind) {
    case "chat":
      return { ...request, prompt: await filterChat(prompt, check) };
    case "text":
      return { ...request, prompt: { ...prompt, parts: await filterParts(prompt.parts, tokenizer, check) } };
    case "embed": {
      const inputs = [];
      for (const input of prompt.inputs) {
        inputs.push({ ...input, parts: await filterParts(input.parts, tokenizer, check) });
      }
      return { ...request, prompt: { ...prompt, inputs } };
    }
  }
}

/** How errors call what is filtered. */
const fieldOf = { chat: "messages", text: "prompt", embed: "input" } as const;

type Check = (text: string) => Promise<string>;

async function filterChat(prompt: ChatPrompt, check: Check): Promise<ChatPrompt> {
  const messages = [];
  for (const message of prompt.messages) {
    const { content, reasoning_content: reasoning } = message;
    messages.push({
      ...message,
      content: content === null ? null : await check(content),
      ...(reasoning === undefined ? {} : { reasoning_content: await check(reasoning) }),
    });
  }
  return { ...prompt, messages };
}

type Parts = TextPrompt["parts"];

/** Ids are judged by their text, and become text where some of it is taken out. */
async function filterParts(parts: Parts, tokenizer: Tokenizer, check: Check): Promise<Parts> {
  const whole = parts.map((part) => (typeof part === "string" ? part : tokenizer.decode(part))).join("");
  const passed = await check(whole);
  return passed === whole ? parts : [passed];
}
