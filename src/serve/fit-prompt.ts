// Prompts that are longer than the context, where the server may shorten them.

import type { Tokenizer } from "../engine/tokenizer.js";
import type { Grammar } from "../grammar/grammar.js";
import { countDroppable, countToDrop, withoutTurns } from "./context-shift.js";
import { contextExceeded, invalid } from "./errors.js";
import type { ServeOptions } from "./options.js";
import type { PreparedPrompt, PromptMaker } from "./prompt.js";
import type { AnsweredRequest, TextRequest } from "./request.js";
import type { ServedModel } from "./served-model.js";

// Where turns must go, so many go that a quarter of the context is free: the rest has to be evaluated again, which should
// not happen with every message.
const keptShare = 3 / 4;

export interface FittedPrompt {
  prepared: PreparedPrompt;
  /** Turns of the chat that were left out. */
  droppedTurns: number;
}

export class PromptFitter {
  readonly #prompts: PromptMaker;
  readonly #contextSize: number;
  readonly #tokenizer: Tokenizer;
  readonly #options: ServeOptions;

  constructor({ prompts, contextSize, model }: ServedModel, options: ServeOptions) {
    this.#prompts = prompts;
    this.#contextSize = contextSize;
    this.#tokenizer = model.tokenizer;
    this.#options = options;
  }

  /** The prompt, made to fit if the server may do that. Throws an ApiError if it does not fit. */
  async fit(request: AnsweredRequest, grammar: Grammar | undefined): Promise<FittedPrompt> {
    const { contextShift, truncateInput, maxInputTokens } = this.#options;
    const prepared = await this.#prompts.prepareAsync(request.prompt, grammar);
    const { length } = prepared.ids;
    const room = this.#contextSize - (request.maxTokens === 0 ? 0 : 1);
    const limit = maxInputTokens > 0 ? Math.min(room, maxInputTokens) : room;
    if (length <= limit) {
      return { prepared, droppedTurns: 0 };
    }
    const short =
      request.prompt.kind === "chat"
        ? contextShift || truncateInput
          ? this.dropTurns(request, grammar, 0)
          : undefined
        : truncateInput
          ? { prepared: this.#cut(prepared, request, limit), droppedTurns: 0 }
          : undefined;
    if (short === undefined || short.prepared.ids.length > limit) {
      throw length > room
        ? contextExceeded(length, this.#contextSize)
        : invalid("prompt", `expected at most ${limit} tokens, got ${length}`);
    }
    return short;
  }

  /** The chat without so many of its oldest turns that a part of the context is free beside what was answered already. */
  dropTurns({ prompt }: AnsweredRequest, grammar: Grammar | undefined, answered: number): FittedPrompt | undefined {
    if (prompt.kind !== "chat") {
      return undefined;
    }
    const without = (count: number) =>
      this.#prompts.prepare({ ...prompt, messages: withoutTurns(prompt.messages, count) }, grammar);
    const { maxInputTokens } = this.#options;
    const kept = this.#contextSize * keptShare - answered;
    const limit = maxInputTokens > 0 ? Math.min(kept, maxInputTokens) : kept;
    const droppedTurns = countToDrop(countDroppable(prompt.messages), limit, (count) => without(count).ids.length);
    return { prepared: without(droppedTurns), droppedTurns };
  }

  /** A text without its beginning: what is left has room for the answer. */
  #cut(prepared: PreparedPrompt, { maxTokens = this.#contextSize }: TextRequest, most: number): PreparedPrompt {
    const { addBos, bos } = this.#tokenizer.info;
    const kept = Math.min(most, Math.max(this.#contextSize - maxTokens, Math.floor(this.#contextSize * keptShare)));
    const hasBos = addBos && prepared.ids[0] === bos;
    const ids = hasBos ? [bos, ...prepared.ids.slice(1 - kept)] : prepared.ids.slice(-kept);
    return { ...prepared, ids, before: ids };
  }
}
