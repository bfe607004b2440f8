// One answer of a chat: makes room in the context, streams the text, goes on when the context fills up on the way.

import { randomInt } from "node:crypto";
import type { FinishReason, GenerateOptions, GenerateResult, GenerateTimings } from "../engine/generate.js";
import type { Session } from "../engine/model.js";
import { StopMatcher } from "../engine/stop-strings.js";
import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError } from "../system/errors.js";
import type { Chat } from "./chat.js";
import type { ChatTokenizer } from "./encode.js";

export type AnswerTokenizer = ChatTokenizer & Pick<Tokenizer, "createDecoder">;
export type AnswerSession = Pick<Session, "contextSize" | "generate" | "timings">;

export interface AnswerResult {
  text: string;
  finishReason: FinishReason | "aborted";
  stopString?: string;
  seed: number;
  /** Turns that were forgotten to make room. */
  droppedTurns: number;
  timings: GenerateTimings;
}

// A prompt must leave room for this many tokens of answer, as in llama-cli.
const minAnswerRoom = 4;
// Where turns must go anyway, enough of them go that a quarter of the context is free: forgetting means evaluating the
// rest again, which should not happen at every turn.
const keptShare = 3 / 4;

/**
 * Answers the last user message and adds the answer to the chat. An abort keeps what there is of it. If the message
 * cannot fit, throws USAGE and the chat is as it was before that message.
 */
export async function* answerChat(
  chat: Chat,
  session: AnswerSession,
  tokenizer: AnswerTokenizer,
  options: GenerateOptions = {},
): AsyncGenerator<string, AnswerResult, undefined> {
  const { stop = [], maxTokens = -1, seed = randomInt(2 ** 32), ...sampling } = options;
  const generation = { ...sampling, seed };
  const answer = new AnswerText(tokenizer, stop);
  const timings = { promptTokens: 0, reusedTokens: 0, promptMs: 0, generatedTokens: 0, generateMs: 0 };
  const droppedTurns = fitPrompt(chat, session);
  const result: AnswerResult = { text: "", finishReason: "aborted", seed, droppedTurns, timings };
  try {
    for (;;) {
      const prompt = [...chat.promptIds(), ...answer.ids];
      const left = maxTokens < 0 ? maxTokens : maxTokens - answer.ids.length;
      result.finishReason = yield* streamPart(session, prompt, { ...generation, maxTokens: left }, answer, timings);
      const dropped = result.finishReason === "context" ? dropTurns(chat, session, answer.ids.length) : 0;
      if (dropped === 0) {
        break;
      }
      result.droppedTurns += dropped;
    }
    yield answer.finish();
  } catch (error) {
    if (!(error instanceof BitnetError && error.code === "ABORTED")) {
      throw error;
    }
    result.finishReason = "aborted";
    yield answer.release();
  }
  if (answer.stopString !== undefined) {
    result.finishReason = "stop";
  }
  if (result.finishReason !== "aborted" || answer.ids.length > 0) {
    chat.addAnswer(answer.text, answer.shownIds());
  }
  return Object.assign(result, { text: answer.text, stopString: answer.stopString });
}

/** Streams until the generation ends for whatever reason; adds what it cost to `total`. */
async function* streamPart(
  session: AnswerSession,
  prompt: readonly number[],
  options: GenerateOptions,
  answer: AnswerText,
  total: GenerateTimings,
): AsyncGenerator<string, FinishReason, undefined> {
  const pieces = session.generate(prompt, options);
  try {
    for (;;) {
      const next = await pieces.next();
      if (next.done) {
        return next.value.finishReason;
      }
      const text = answer.push(next.value.id);
      if (text !== "") {
        yield text;
      }
      if (answer.stopString !== undefined) {
        return "stop";
      }
    }
  } finally {
    // Leaving early must end the session's generation too; the value is never seen.
    await pieces.return({} as GenerateResult);
    for (const [key, value] of Object.entries(session.timings) as [keyof GenerateTimings, number][]) {
      total[key] += value;
    }
  }
}

/** Makes the prompt leave room for an answer; returns how many turns that cost. */
function fitPrompt(chat: Chat, session: AnswerSession): number {
  const limit = session.contextSize - minAnswerRoom;
  if (chat.promptIds().length <= limit) {
    return 0;
  }
  const length = chat.lengthWithout(chat.turnCount - 1);
  if (length <= limit) {
    return dropTurns(chat, session, 0);
  }
  chat.dropUnanswered();
  throw new BitnetError(
    "USAGE",
    `the message is too long: with the system prompt it takes ${length} of the context's ${session.contextSize} tokens`,
    { hint: `at most ${limit} fit; shorten it or use a larger context (-c)` },
  );
}

/** Forgets as few turns as it takes to free a part of the context, or all but the last; returns how many. */
function dropTurns(chat: Chat, session: AnswerSession, answerLength: number): number {
  const limit = session.contextSize * keptShare - answerLength;
  let tooFew = 0;
  let enough = chat.turnCount - 1;
  while (tooFew + 1 < enough) {
    const middle = (tooFew + enough) >> 1;
    if (chat.lengthWithout(middle) <= limit) {
      enough = middle;
    } else {
      tooFew = middle;
    }
  }
  if (enough > 0) {
    chat.dropOldestTurns(enough);
  }
  return enough;
}

/** The text of an answer as its tokens come; holds back unfinished characters and beginnings of stop strings. */
class AnswerText {
  readonly #tokenizer: AnswerTokenizer;
  readonly #decoder: ReturnType<AnswerTokenizer["createDecoder"]>;
  readonly #matcher: StopMatcher;
  readonly ids: number[] = [];
  text = "";
  stopString: string | undefined;

  constructor(tokenizer: AnswerTokenizer, stop: readonly string[]) {
    this.#tokenizer = tokenizer;
    this.#decoder = tokenizer.createDecoder();
    this.#matcher = new StopMatcher(stop);
  }

  push(id: number): string {
    this.ids.push(id);
    return this.#tokenizer.isEog(id) ? "" : this.#match(this.#decoder.push(id));
  }

  /** The end of the text. */
  finish(): string {
    return this.stopString === undefined ? this.#match(this.#decoder.flush()) + this.release() : "";
  }

  /** What was held back in case it is a stop string; half a character stays unsaid. */
  release(): string {
    const held = this.stopString === undefined ? this.#matcher.flush() : "";
    this.text += held;
    return held;
  }

  /** The ids of exactly the text: those generated, unless the text was cut at a stop string or inside a character. */
  shownIds(): readonly number[] {
    const plain = this.ids.filter((id) => !this.#tokenizer.isEog(id));
    if (this.#tokenizer.decode(plain) === this.text) {
      return this.ids;
    }
    return [...this.#tokenizer.encode(this.text, { addSpecial: false, parseSpecial: false })];
  }

  #match(decoded: string): string {
    const match = this.#matcher.push(decoded);
    this.stopString = match.stop;
    this.text += match.text;
    return match.text;
  }
}
