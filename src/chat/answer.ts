// One answer of a chat: makes room in the context, streams the text, goes on when the context fills up on the way.

import { randomInt } from "node:crypto";
import { type FinishReason, type GenerateTimings, newTimings } from "../engine/generate.js";
import { Generation } from "../engine/generation.js";
import type { Session } from "../engine/model.js";
import { checkGenerateOptions, type GenerateOptions, readGrammar, type TokenOptions } from "../engine/request.js";
import { TextStream } from "../engine/text-stream.js";
import type { Tokenizer } from "../engine/tokenizer.js";
import type { Grammar } from "../grammar/grammar.js";
import { BitnetError } from "../system/errors.js";
import type { Chat } from "./chat.js";
import type { ChatTokenizer } from "./encode.js";
import { type ChatPiece, controlTagOf, ThinkingSplitter } from "./thinking.js";
import { leaveRoom, roomForThinking, type ThinkingRoom } from "./tools/answer-grammar.js";

export type AnswerTokenizer = ChatTokenizer & Pick<Tokenizer, "createDecoder">;
export type AnswerSession = Pick<Session, "contextSize" | "generateTokens" | "timings">;

export interface AnswerResult {
  /** The answer without what the model thought before it. */
  text: string;
  /** What it thought; absent if it did not. */
  thinking?: string;
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
 * Answers the last user message and adds the answer to the chat. An abort, and leaving the loop over the texts, keeps
 * what there is of it: the result says "aborted". If the message cannot fit, throws USAGE and the chat is as it was
 * before that message.
 */
export function answerChat(
  chat: Chat,
  session: AnswerSession,
  tokenizer: AnswerTokenizer,
  options: GenerateOptions = {},
): Generation<ChatPiece, AnswerResult> {
  checkGenerateOptions("answerChat", options);
  const result = newAnswerResult(options);
  return new Generation(streamAnswer(chat, session, tokenizer, options, result), () => result);
}

/** The result of an answer that has not begun. */
export function newAnswerResult({ seed = randomInt(2 ** 32) }: GenerateOptions): AnswerResult {
  return { text: "", finishReason: "aborted", seed, droppedTurns: 0, timings: newTimings() };
}

/** Streams the pieces of an answer. `result` is filled in on the way. */
export async function* streamAnswer(
  chat: Chat,
  session: AnswerSession,
  tokenizer: AnswerTokenizer,
  options: GenerateOptions,
  result: AnswerResult,
): AsyncGenerator<ChatPiece, AnswerResult, undefined> {
  const { stop = [], grammar, schema, ...rest } = options;
  // A message is a text of its own: its first word has no leading space, whatever the template ends with.
  const stream = new TextStream(tokenizer, stop);
  result.droppedTurns = fitPrompt(chat, session);
  const held = holdAnswer(chat, tokenizer, readGrammar({ grammar, schema }));
  const splitter = new ThinkingSplitter(held.thinking, held.isThinking);
  const answer = { chat, session, tokenizer, stream, splitter, ids: [], result };
  let failed = false;
  try {
    result.finishReason = yield* streamTokens(answer, { ...rest, seed: result.seed, grammar: held.grammar });
  } catch (error) {
    failed = !(error instanceof BitnetError && error.code === "ABORTED");
    if (failed) {
      throw error;
    }
    yield* splitter.push(stream.release());
    yield* splitter.finish();
  } finally {
    // Also where the loop was left.
    if (!failed) {
      keepAnswer(answer);
    }
  }
  return result;
}

/** A grammar holds the answer; what the model thinks before it is free. */
function holdAnswer(
  chat: Chat,
  tokenizer: AnswerTokenizer,
  grammar: Grammar | undefined,
): ThinkingRoom & { grammar?: Grammar } {
  const isThinking = chat.beginsThinking();
  if (grammar === undefined) {
    return { thinking: chat.format.thinking, isThinking };
  }
  const room = roomForThinking(chat.format, tokenizer, isThinking, chat.thinking);
  return { ...room, grammar: leaveRoom(grammar, room) };
}

/** An answer on its way. */
interface RunningAnswer {
  chat: Chat;
  session: AnswerSession;
  tokenizer: AnswerTokenizer;
  stream: TextStream;
  splitter: ThinkingSplitter;
  ids: number[];
  result: AnswerResult;
}

/** Generates until the answer ends for whatever reason. It goes on where turns can be forgotten for it. */
async function* streamTokens(
  answer: RunningAnswer,
  options: TokenOptions,
): AsyncGenerator<ChatPiece, FinishReason, undefined> {
  const { chat, session, stream, splitter, ids, result } = answer;
  const { maxTokens = -1 } = options;
  for (;;) {
    const left = maxTokens < 0 ? maxTokens : maxTokens - ids.length;
    const finishReason = yield* streamPart(answer, { ...options, maxTokens: left });
    const dropped = finishReason === "context" ? dropTurns(chat, session, ids.length) : 0;
    if (dropped === 0) {
      yield* splitter.push(stream.finish());
      yield* splitter.finish();
      return stream.stopString === undefined ? finishReason : "stop";
    }
    result.droppedTurns += dropped;
  }
}

/** Streams one generation; adds what it cost. */
async function* streamPart(
  answer: RunningAnswer,
  options: TokenOptions,
): AsyncGenerator<ChatPiece, FinishReason, undefined> {
  const { chat, session, stream, ids, result } = answer;
  const tokens = session.generateTokens([...chat.promptIds(), ...ids], { ...options, begun: ids });
  try {
    for await (const { id } of tokens) {
      ids.push(id);
      yield* pushToken(answer, id);
      if (stream.stopString !== undefined) {
        return "stop";
      }
    }
    return (await tokens.result).finishReason;
  } finally {
    for (const [key, value] of Object.entries(session.timings) as [keyof GenerateTimings, number][]) {
      result.timings[key] += value;
    }
  }
}

/** The pieces that are certain with the next token. Tags that are control tokens have no text, but count. */
function* pushToken({ chat, tokenizer, stream, splitter }: RunningAnswer, id: number): Iterable<ChatPiece> {
  yield* splitter.push(stream.push(id));
  const tag = controlTagOf(chat.format.thinking, tokenizer, id);
  if (tag !== "") {
    yield* splitter.push(stream.release() + tag);
  }
}

/** Adds to the chat what was said. An answer that was stopped before its first token is none. */
function keepAnswer({ chat, tokenizer, stream, splitter, ids, result }: RunningAnswer): void {
  const { text, thinking, hasThought } = splitter;
  Object.assign(result, { text, stopString: stream.stopString }, thinking === "" ? {} : { thinking });
  if (result.finishReason !== "aborted" || ids.length > 0) {
    // Earlier thinking is not part of a prompt: what was generated is then not what the chat goes on with.
    chat.addAnswer(text, hasThought ? undefined : findShownIds(text, ids, tokenizer), thinking);
  }
}

/** The ids of exactly the text: those generated, unless the text was cut at a stop string or inside a character. */
function findShownIds(text: string, ids: readonly number[], tokenizer: AnswerTokenizer): readonly number[] {
  const plain = ids.filter((id) => !tokenizer.isEog(id));
  return tokenizer.decode(plain) === text
    ? ids
    : [...tokenizer.encode(text, { addSpecial: false, parseSpecial: false })];
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
