// A model without weights for tests of what surrounds a model: every byte is a token, answers come from a script.

import type { AnswerTokenizer } from "../../src/chat/answer.js";
import type { ConversationModel, ConversationSession } from "../../src/cli/conversation.js";
import { type GenerateTimings, newTimings, type Token, type TokensResult } from "../../src/engine/generate.js";
import { Generation } from "../../src/engine/generation.js";
import type { Prompt, TokenOptions } from "../../src/engine/request.js";
import { abortedError, BitnetError } from "../../src/system/errors.js";

/** Tokens of a prompt that are evaluated at once. */
const stepTokens = 256;

interface SpecialToken {
  text: string;
  /** Recognized in any text, and printed. */
  userDefined?: boolean;
}

/** Ids 0 to 255 are bytes, the special tokens follow. The first is BOS, all whose text begins with <|e or <|im_e end. */
export class FakeTokenizer implements AnswerTokenizer {
  readonly #special: SpecialToken[];
  readonly info: AnswerTokenizer["info"];

  constructor(
    special: SpecialToken[] = [{ text: "<|begin|>" }, { text: "<|eot_id|>" }, { text: "<|end|>" }],
    addBos = true,
  ) {
    this.#special = special;
    const eog = special.flatMap(({ text }, i) => (/^<\|(im_)?e/.test(text) ? [256 + i] : []));
    this.info = {
      model: "gpt2",
      pre: "default",
      vocabSize: 256 + special.length,
      bos: 256,
      eos: eog.at(-1) ?? -1,
      eot: eog[0] ?? -1,
      pad: -1,
      unk: -1,
      addBos,
      addEos: false,
      eog,
      warnings: [],
    };
  }

  encode(text: string | Uint8Array, { addSpecial = true, parseSpecial = false } = {}): Int32Array {
    const ids: number[] = addSpecial && this.info.addBos ? [this.info.bos] : [];
    let rest = String(text);
    while (rest !== "") {
      const special = this.#special.findIndex(
        (token) => (parseSpecial || token.userDefined === true) && rest.startsWith(token.text),
      );
      const taken =
        special >= 0 ? (this.#special[special]?.text ?? "") : String.fromCodePoint(rest.codePointAt(0) ?? 0);
      ids.push(...(special >= 0 ? [256 + special] : Buffer.from(taken)));
      rest = rest.slice(taken.length);
    }
    return Int32Array.from(ids);
  }

  decode(ids: Int32Array | readonly number[], { special = false } = {}): string {
    return Buffer.concat([...ids].map((id) => this.#bytes(id, special))).toString();
  }

  piece(id: number, { special = false } = {}): string {
    return this.decode([id], { special });
  }

  token(id: number): string {
    return this.piece(id, { special: true });
  }

  isEog(id: number): boolean {
    return this.info.eog.includes(id);
  }

  createDecoder({ special = false } = {}): { push(id: number): string; flush(): string } {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (id) => decoder.decode(this.#bytes(id, special), { stream: true }),
      flush: () => decoder.decode(),
    };
  }

  #bytes(id: number, special: boolean): Buffer {
    if (id < 256) {
      return Buffer.of(id);
    }
    const token = this.#special[id - 256];
    return Buffer.from(token !== undefined && (special || token.userDefined === true) ? token.text : "");
  }
}

/**
 * The whole answer to a prompt, given as text up to the last "Assistant: "; what the prompt holds of it already is not
 * said again. It ends with the text of an end-of-generation token or repeats for ever.
 */
export type Script = (prompt: string) => string;

export class FakeSession implements ConversationSession {
  readonly contextSize: number;
  readonly prompts: string[] = [];
  readonly options: TokenOptions[] = [];
  readonly #tokenizer: FakeTokenizer;
  readonly #script: Script;
  #cache: number[] = [];
  timings: GenerateTimings = newTimings();
  closed = false;

  constructor(tokenizer: FakeTokenizer, script: Script, contextSize: number) {
    this.#tokenizer = tokenizer;
    this.#script = script;
    this.contextSize = contextSize;
  }

  tokens(): Int32Array {
    return Int32Array.from(this.#cache);
  }

  generateTokens(prompt: Prompt, options: TokenOptions = {}): Generation<Token, TokensResult> {
    return new Generation(this.#run(prompt, options));
  }

  async *#run(prompt: Prompt, options: TokenOptions): AsyncGenerator<Token, TokensResult, undefined> {
    const ids = [...(prompt as readonly number[])];
    if (ids.length > this.contextSize) {
      throw new BitnetError("USAGE", "the prompt is too long");
    }
    const text = this.#tokenizer.decode(ids, { special: true });
    this.prompts.push(text);
    this.options.push(options);
    const differs = ids.findIndex((id, i) => id !== this.#cache[i]);
    const reused = Math.min(differs < 0 ? ids.length - 1 : differs, this.#cache.length);
    this.timings = { ...newTimings(), promptTokens: ids.length, reusedTokens: reused };
    for (let known = reused + stepTokens; known < ids.length; known += stepTokens) {
      options.onPrompt?.(known, ids.length);
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#cache = [...ids];
    const begin = Buffer.from(ids.map((id) => Math.min(id, 255))).lastIndexOf("Assistant: ") + "Assistant: ".length;
    const asked = this.#tokenizer.decode(ids.slice(0, begin), { special: true });
    const answer = this.#tokenizer.encode(this.#script(asked), { addSpecial: false, parseSpecial: true });
    const room = this.contextSize - ids.length + 1;
    const maxTokens = options.maxTokens === undefined || options.maxTokens < 0 ? Infinity : options.maxTokens;
    const tokens: number[] = [];
    const result = (finishReason: TokensResult["finishReason"]): TokensResult => ({
      finishReason,
      tokens,
      seed: options.seed ?? 0,
      timings: this.timings,
    });
    while (tokens.length < Math.min(room, maxTokens)) {
      await new Promise((resolve) => setImmediate(resolve));
      if (options.signal?.aborted) {
        throw abortedError(options.signal);
      }
      if (tokens.length > 0) {
        this.#cache.push(tokens.at(-1) ?? 0);
      }
      const id = answer[(ids.length - begin + tokens.length) % answer.length] ?? 0;
      this.timings.generatedTokens = tokens.push(id);
      this.timings.decodedTokens = tokens.length - 1;
      yield { id };
      if (this.#tokenizer.isEog(id)) {
        return result("eog");
      }
    }
    return result(maxTokens > room ? "context" : "length");
  }

  close(): void {
    this.closed = true;
  }
}

export class FakeModel implements ConversationModel {
  readonly info: { chatTemplate: string | null; name: string };
  readonly tokenizer: FakeTokenizer;
  readonly sessions: FakeSession[] = [];
  readonly #script: Script;

  constructor(script: Script, options: { tokenizer?: FakeTokenizer; chatTemplate?: string } = {}) {
    this.#script = script;
    this.info = { chatTemplate: options.chatTemplate ?? null, name: "fake" };
    this.tokenizer = options.tokenizer ?? new FakeTokenizer();
  }

  get session(): FakeSession {
    const session = this.sessions.at(-1);
    if (session === undefined) {
      throw new Error("no session yet");
    }
    return session;
  }

  createSession({ contextSize = 1000 }: { contextSize?: number }): FakeSession {
    const session = new FakeSession(this.tokenizer, this.#script, contextSize);
    this.sessions.push(session);
    return session;
  }
}
