// What a request asks to continue, as token ids, with what is to be known of the answer.

import {
  addBos,
  type ChatPart,
  encodeBegun,
  encodeParts,
  encodePartsAsync,
  findMarkers,
  renderParts,
} from "../chat/encode.js";
import type { ChatFormat, FormatMessage } from "../chat/format.js";
import type { ThinkingTags } from "../chat/thinking.js";
import { planTools, planToolsAsync, type ToolPlan, type ToolRequest } from "../chat/tools/plan.js";
import { readTools, type ToolChoice } from "../chat/tools/tool.js";
import type { EncodeOptions, Tokenizer } from "../engine/tokenizer.js";
import type { Grammar } from "../grammar/grammar.js";
import { BitnetError } from "../system/errors.js";
import type { AnswerParser } from "./answer-stream.js";
import { ApiError, invalid } from "./errors.js";
import type { ChatPrompt, TextPrompt } from "./request.js";

export interface PreparedPrompt {
  ids: number[];
  thinking?: ThinkingTags;
  /** The prompt has opened the thinking already. */
  beginsThinking: boolean;
  /** Of each answer. */
  createParser?: () => AnswerParser;
  /** Tokens that the answer's text continues. */
  before: readonly number[];
  grammar?: Grammar;
  /** What of the tools' schemas the grammar does not hold to: "tools/NAME/properties/a/uniqueItems". */
  ignored?: readonly string[];
  /** Tokens at the end of the prompt that the grammar is about already. */
  begun?: readonly number[];
}

export interface PromptSetup {
  tokenizer: Tokenizer;
  format: ChatFormat;
  /** For chats that have none; "" for none. */
  systemPrompt: string;
  /** Tell what is thought from what is said. */
  splitsThinking: boolean;
}

export class PromptMaker {
  readonly #setup: PromptSetup;
  readonly #markers: readonly string[];

  constructor(setup: PromptSetup) {
    this.#setup = setup;
    this.#markers = findMarkers(setup.format, setup.tokenizer);
  }

  prepare(prompt: ChatPrompt | TextPrompt, grammar?: Grammar): PreparedPrompt {
    if (prompt.kind === "text") {
      const { tokenizer } = this.#setup;
      const encoded = prompt.parts.map((part, i) =>
        typeof part === "string" ? tokenizer.encode(part, optionsOf(prompt, i)) : part,
      );
      return this.#prepareText(encoded, grammar);
    }
    const plan = this.#plan(prompt, grammar);
    return this.#prepareChat(plan, encodeParts(this.#parts(plan), this.#setup.tokenizer, this.#markers));
  }

  /** The same, where long texts do not keep the thread. */
  async prepareAsync(prompt: ChatPrompt | TextPrompt, grammar?: Grammar): Promise<PreparedPrompt> {
    const { tokenizer } = this.#setup;
    if (prompt.kind === "text") {
      const encoded = prompt.parts.map((part, i) =>
        typeof part === "string" ? tokenizer.encodeAsync(part, optionsOf(prompt, i)) : part,
      );
      return this.#prepareText(await Promise.all(encoded), grammar);
    }
    const { format } = this.#setup;
    const request = answering(() => this.#toolRequest(prompt, grammar));
    const plan = await planToolsAsync(format, tokenizer, request).catch((error: unknown) =>
      Promise.reject(describeProblem(error)),
    );
    return this.#prepareChat(plan, await encodePartsAsync(this.#parts(plan), tokenizer, this.#markers));
  }

  /** What all chats without a system message of their own begin with: the server's own text, which is nobody's secret. */
  commonBeginning(): number[] {
    const choice = { tools: [], toolChoice: { mode: "none" }, parallelToolCalls: true, variables: {} } as const;
    const [one = [], other = []] = ["a", "b"].map((content) => {
      try {
        return this.prepare({ kind: "chat", messages: [{ role: "user", content }], ...choice }).ids;
      } catch {
        return []; // a template that wants more than that says so to those who ask
      }
    });
    const end = one.findIndex((id, i) => id !== other[i]);
    return one.slice(0, end < 0 ? one.length : end);
  }

  /** The chat as the template writes it. */
  render(prompt: ChatPrompt): string {
    const plan = this.#plan(prompt);
    const parts = this.#parts(plan).map(({ text }) => text);
    return [...parts, plan.begun].join("");
  }

  #prepareChat(plan: ToolPlan, ids: number[]): PreparedPrompt {
    const { tokenizer, splitsThinking } = this.#setup;
    const begun = encodeBegun(plan.begun, tokenizer, this.#markers);
    const hasCalls = plan.kind !== "none";
    return {
      ids: [...addBos(ids, tokenizer), ...begun],
      // What is thought could be read as a call.
      thinking: splitsThinking || hasCalls ? plan.thinking : undefined,
      beginsThinking: plan.isThinking,
      ...(hasCalls ? { createParser: plan.createReader } : {}),
      ...{ before: begun, begun },
      grammar: plan.grammar,
      ignored: plan.ignored.map(({ tool, pointer }) => `tools/${tool}${pointer}`),
    };
  }

  #plan(prompt: ChatPrompt, grammar?: Grammar): ToolPlan {
    const { tokenizer, format } = this.#setup;
    return answering(() => planTools(format, tokenizer, this.#toolRequest(prompt, grammar)));
  }

  #toolRequest(prompt: ChatPrompt, grammar: Grammar | undefined): ToolRequest {
    const { messages, tools, toolChoice, parallelToolCalls, thinking, variables } = prompt;
    return {
      messages: this.#withSystem(messages),
      tools: readTools(tools),
      choice: chooseTools(toolChoice),
      parallel: parallelToolCalls,
      ...{ grammar, thinking, variables },
    };
  }

  #parts({ messages, options }: ToolPlan): ChatPart[] {
    const { tokenizer, format } = this.#setup;
    return answering(() => renderParts(format, tokenizer, messages, true, options));
  }

  #withSystem(messages: readonly FormatMessage[]): readonly FormatMessage[] {
    const { systemPrompt } = this.#setup;
    return systemPrompt === "" || messages[0]?.role === "system"
      ? messages
      : [{ role: "system", content: systemPrompt }, ...messages];
  }

  #prepareText(encoded: readonly Iterable<number>[], grammar: Grammar | undefined): PreparedPrompt {
    const { tokenizer } = this.#setup;
    const ids: number[] = [];
    for (const part of encoded) {
      for (const id of part) {
        ids.push(id);
      }
    }
    const { bos, vocabSize } = tokenizer.info;
    const wrong = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (wrong !== undefined) {
      throw invalid("prompt", `${wrong} is not a token id: expected an integer from 0 to ${vocabSize - 1}`);
    }
    if (ids.length === 0) {
      if (bos < 0) {
        throw invalid("prompt", "expected at least one token");
      }
      ids.push(bos);
    }
    return { ids, beginsThinking: false, before: ids, grammar };
  }
}

/** Only the first part of a prompt begins it. */
function optionsOf({ parseSpecial, addsSpecial }: TextPrompt, i: number): EncodeOptions {
  return { addSpecial: addsSpecial && i === 0, parseSpecial };
}

/** One tool by its name is to be called once; of several that are allowed any may be. */
function chooseTools(choice: ChatPrompt["toolChoice"]): ToolChoice {
  if (choice.mode !== "allowed") {
    return choice.mode;
  }
  const { names, required } = choice;
  const [name] = names;
  return required && names.length === 1 && name !== undefined
    ? { name }
    : { mode: required ? "required" : "auto", names };
}

function answering<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw describeProblem(error);
  }
}

/** What is wrong with tools, a schema or, to the template, with the messages, as an answer that names the field. */
function describeProblem(error: unknown): unknown {
  if (!(error instanceof BitnetError)) {
    return error;
  }
  const hint = error.hint === undefined ? "" : ` (${error.hint})`;
  switch (error.code) {
    case "USAGE":
    case "UNSUPPORTED": {
      const isSchema = /^tool \S+: parameters/.test(error.message);
      const param = isSchema ? "tools" : /^(\w+(?:\[\d+\])?(?:\.\w+)*):/.exec(error.message)?.[1];
      const code = isSchema ? "invalid_json_schema" : "invalid_value";
      return new ApiError("invalid_request_error", error.message + hint, { code, param, cause: error });
    }
    // Templates refuse chats that they cannot write, and say why.
    case "BAD_FILE":
      return new ApiError("invalid_request_error", error.message, {
        ...{ code: "invalid_value", param: "messages", cause: error },
      });
    default:
      return error;
  }
}
