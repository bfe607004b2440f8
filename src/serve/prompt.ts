// What a request asks to continue, as token ids, with what is to be known of the answer.

import { addBos, encodeParts, findMarkers, renderParts } from "../chat/encode.js";
import type { ChatFormat, FormatMessage } from "../chat/format.js";
import type { ThinkingTags } from "../chat/thinking.js";
import type { Tokenizer } from "../engine/tokenizer.js";
import type { Grammar } from "../grammar/grammar.js";
import type { AnswerParser } from "./answer-stream.js";
import { invalid } from "./errors.js";
import type { ChatPrompt, TextPrompt, TextRequest } from "./request.js";

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

  prepare({ prompt, grammar }: Pick<TextRequest, "prompt" | "grammar">): PreparedPrompt {
    return prompt.kind === "chat" ? this.#prepareChat(prompt, grammar) : this.#prepareText(prompt, grammar);
  }

  /** The chat as the template writes it. */
  render(prompt: ChatPrompt): string {
    return this.#parts(prompt)
      .map(({ text }) => text)
      .join("");
  }

  #prepareChat(prompt: ChatPrompt, grammar: Grammar | undefined): PreparedPrompt {
    const { tokenizer, format, splitsThinking } = this.#setup;
    const parts = this.#parts(prompt);
    const ids = addBos(encodeParts(parts, tokenizer, this.#markers), tokenizer);
    const thinking = splitsThinking ? format.thinking : undefined;
    const last = parts.at(-1);
    const beginsThinking =
      thinking !== undefined && last?.content === false && last.text.trimEnd().endsWith(thinking.open);
    return { ids, thinking, beginsThinking, before: [], grammar };
  }

  #parts({ messages, tools, variables, thinking }: ChatPrompt) {
    const { tokenizer, format } = this.#setup;
    const last = messages.at(-1);
    // An answer that has begun already is gone on with: its text stands where the answer begins.
    const begun = last?.role === "assistant" && last.tool_calls === undefined ? last : undefined;
    const turns = this.#withSystem(begun === undefined ? messages : messages.slice(0, -1));
    const parts = renderParts(format, tokenizer, turns, true, { tools, variables, thinking });
    return begun?.content ? [...parts, { text: begun.content, content: true }] : parts;
  }

  #withSystem(messages: readonly FormatMessage[]): readonly FormatMessage[] {
    const { systemPrompt } = this.#setup;
    return systemPrompt === "" || messages[0]?.role === "system"
      ? messages
      : [{ role: "system", content: systemPrompt }, ...messages];
  }

  #prepareText({ parts, parseSpecial }: TextPrompt, grammar: Grammar | undefined): PreparedPrompt {
    const { tokenizer } = this.#setup;
    const ids: number[] = [];
    for (const [i, part] of parts.entries()) {
      const added = typeof part === "string" ? tokenizer.encode(part, { addSpecial: i === 0, parseSpecial }) : part;
      for (const id of added) {
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
