// bitnet run -cnv: the loop of a conversation, its answers, Ctrl-C.

import type { EventEmitter } from "node:events";
import { type AnswerResult, type AnswerTokenizer, answerChat } from "../chat/answer.js";
import { Chat } from "../chat/chat.js";
import { chooseFormat } from "../chat/choose-format.js";
import { affixFormat, type ChatFormat } from "../chat/format.js";
import { type GenerateTimings, newTimings } from "../engine/generate.js";
import type { Model, ModelInfo, Session } from "../engine/model.js";
import { checkGenerateOptions, type GenerateOptions } from "../engine/request.js";
import type { CacheType } from "../native/addon.js";
import { BitnetError, toBitnetError } from "../system/errors.js";
import { completeCommand, findCommand, parseCommand } from "./conversation-commands.js";
import type { ConversationState } from "./conversation-state.js";
import { formatDuration } from "./terminal/bar.js";
import { defaultHistoryFile, HistoryFile } from "./terminal/history.js";
import { blockMark } from "./terminal/message-source.js";
import type { OutputStream } from "./terminal/output.js";
import { Repl, type ReplInput } from "./terminal/repl.js";
import { Screen } from "./terminal/screen.js";
import { describeTimings } from "./terminal/timings.js";

export interface ConversationOptions {
  /** Default: none. */
  systemPrompt?: string;
  /** Default: as Model.createSession. */
  contextSize?: number;
  cacheType?: CacheType;
  /** Name of a built-in format or path of a Jinja file. Default: the model's own template, else "bitnet". */
  chatTemplate?: string;
  /** Texts around each message, in the place of a chat format. */
  affixes?: { prefix?: string; suffix?: string };
  /** Sent before anything is read. */
  firstMessage?: string;
  /** End after one answer. Default: false. */
  singleTurn?: boolean;
  /** Whether the model is to think before it answers, if its template leaves the choice. */
  think?: boolean;
  /** For every answer; `maxTokens` is the limit of one answer. */
  generate?: GenerateOptions;
  /** One JSON object per answer instead of text. Default: false. */
  json?: boolean;
  /** Nothing on stderr but errors. Default: false. */
  quiet?: boolean;
  /** Path of the input history; false keeps none. Default: in the user's state directory. */
  historyFile?: string | false;
  /** Recorded in saved chats. Default: the name in the model file. */
  modelName?: string;
  /** The model file, for /show. */
  modelPath?: string;
  /** What the model thinks before it answers is not shown. Default: false. */
  hideThinking?: boolean;
}

export interface ConversationIo {
  stdin: ReplInput;
  stdout: OutputStream;
  stderr: OutputStream;
  /** Where SIGINT and the signals of job control come from. */
  signals: Pick<EventEmitter, "on" | "off" | "emit">;
  /** What a signal does that nobody listens to: SIGTSTP stops the process, SIGTERM and SIGHUP end it. */
  raise(signal: NodeJS.Signals): void;
}

const processIo: ConversationIo = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  signals: process,
  raise: (signal) => {
    if (process.platform !== "win32") {
      process.kill(signal === "SIGTSTP" ? 0 : process.pid, signal); // Ctrl-Z is for all processes of the job
    } else if (signal !== "SIGTSTP") {
      process.kill(process.pid, "SIGTERM"); // Windows stops no process, and has one way to end it
    }
  },
};

export type ConversationSession = Pick<Session, "contextSize" | "generateTokens" | "timings" | "tokens" | "close">;

export interface ConversationModel {
  readonly info: Pick<ModelInfo, "chatTemplate" | "name"> & Partial<ModelInfo>;
  readonly tokenizer: AnswerTokenizer;
  createSession(options: { contextSize?: number; cacheType?: CacheType }): ConversationSession;
}

// A real model must be good enough for a conversation.
type Assert<T extends true> = T;
export type ModelIsConversationModel = Assert<Model extends ConversationModel ? true : false>;

/**
 * Talks until the end of the input or /exit; throws ABORTED after a second Ctrl-C. What cannot work at all (template,
 * system prompt longer than the context) throws before anything is read.
 */
export async function runConversation(
  model: ConversationModel,
  options: ConversationOptions = {},
  io: ConversationIo = processIo,
): Promise<void> {
  const format =
    options.affixes === undefined ? await chooseFormat(model, options.chatTemplate) : affixFormat(options.affixes);
  const session = model.createSession({ contextSize: options.contextSize, cacheType: options.cacheType });
  const screen = new Screen(io.stdout, io.stderr, options);
  let conversation: Conversation | undefined;
  try {
    const chat = startChat(format, model, session, options.systemPrompt ?? "");
    chat.thinking = options.think;
    const history = await openHistory(options, io, screen);
    const repl = new Repl({
      input: io.stdin,
      output: screen.promptOutput,
      history: history?.lines,
      onMessage: (text) => conversation?.keepsHistory && history?.file.add(text),
      complete: completeCommand,
      signals: io.signals,
      stop: () => io.raise("SIGTSTP"),
    });
    conversation = new Conversation(model, session, chat, repl, screen, options);
    if (options.think !== undefined && format.canSwitchThinking !== true) {
      const spelling = options.think ? "--think" : "--no-think";
      screen.note(`note: ${spelling} has no effect: the chat format has no switch for thinking`);
    }
    if (!options.singleTurn) {
      screen.hint(describeStart(model, format, session, options));
    }
    await conversation.run(io, options);
    const failure = await history?.file.finish();
    if (failure !== undefined) {
      screen.hint(`the input history was not kept: ${failure.message}`);
    }
  } finally {
    session.close();
    if (conversation !== undefined) {
      screen.reportTotals(conversation.totals);
    }
  }
}

/** An empty chat with this system prompt, if the format and the context allow it. */
function startChat(format: ChatFormat, model: ConversationModel, session: ConversationSession, system: string): Chat {
  const chat = new Chat(format, model.tokenizer);
  chat.system = system;
  chat.addUser("Hi");
  const length = chat.promptIds().length;
  if (system !== "" && length > session.contextSize - minTurnLength) {
    throw new BitnetError(
      "USAGE",
      `the system prompt is too long: it leaves no room for a chat in the context of ${session.contextSize} tokens`,
      { hint: "shorten it or use a larger context (-c)" },
    );
  }
  chat.clear();
  return chat;
}

async function openHistory(
  options: ConversationOptions,
  io: ConversationIo,
  screen: Screen,
): Promise<{ file: HistoryFile; lines: string[] } | undefined> {
  if (options.historyFile === false || !(io.stdin.isTTY && screen.promptOutput.isTTY)) {
    return undefined;
  }
  const path = options.historyFile ?? defaultHistoryFile();
  if (path === undefined) {
    return undefined;
  }
  const file = new HistoryFile(path);
  try {
    return { file, lines: await file.load() };
  } catch (error) {
    screen.hint(`no input history: ${(error as Error).message}`);
    return undefined;
  }
}

function describeStart(
  model: ConversationModel,
  format: ChatFormat,
  session: ConversationSession,
  options: ConversationOptions,
): string {
  const name = options.modelName ?? model.info.name ?? "model";
  const lines = [`${name}, context of ${session.contextSize} tokens. /help lists the commands, Ctrl-D leaves.`];
  if (options.chatTemplate === undefined && !model.info.chatTemplate) {
    lines.push(`The model has no chat template; using the ${format.name} format. It may not know how to chat.`);
  }
  return lines.join("\n");
}

const prompt = "> ";
const continuedPrompt = ". ";
// Two Ctrl-C within this time leave the conversation.
const doubleInterruptMs = 2000;
// A system prompt must leave room for this many tokens beside the shortest of messages.
const minTurnLength = 16;

class Conversation implements ConversationState {
  readonly chat: Chat;
  readonly session: ConversationSession;
  readonly screen: Screen;
  readonly modelName: string | undefined;
  readonly about: ConversationState["about"];
  readonly initialGenerate: GenerateOptions;
  readonly totals: GenerateTimings = newTimings();
  lastAnswer: AnswerResult | undefined;
  isVerbose = false;
  keepsHistory = true;
  forgottenTurns = 0;
  readonly #model: ConversationModel;
  readonly #repl: Repl;
  #generate: GenerateOptions;
  #begun = ""; // of the next message
  #answers = 0;
  #answering: AbortController | undefined;
  #lastInterrupt = Number.NEGATIVE_INFINITY;
  #leaving: "no" | "done" | "interrupted" = "no";

  constructor(
    model: ConversationModel,
    session: ConversationSession,
    chat: Chat,
    repl: Repl,
    screen: Screen,
    options: ConversationOptions,
  ) {
    this.chat = chat;
    this.session = session;
    this.screen = screen;
    this.modelName = options.modelName ?? model.info.name ?? undefined;
    this.about = { info: model.info, path: options.modelPath };
    this.initialGenerate = options.generate ?? {};
    this.#generate = this.initialGenerate;
    this.#model = model;
    this.#repl = repl;
  }

  async run(
    { signals, raise }: Pick<ConversationIo, "signals" | "raise">,
    { firstMessage, singleTurn }: ConversationOptions = {},
  ): Promise<void> {
    const interrupt = () => this.#interruptBySignal();
    const end = (signal: NodeJS.Signals) => {
      stopListening();
      this.#repl.close(); // the shell gets its terminal as it was
      raise(signal);
    };
    const stopListening = () => {
      signals.off("SIGINT", interrupt);
      signals.off("SIGTERM", end);
      signals.off("SIGHUP", end);
      signals.off("SIGBREAK", end);
    };
    signals.on("SIGINT", interrupt);
    if (this.#repl.isInteractive) {
      signals.on("SIGTERM", end);
      signals.on("SIGHUP", end);
      signals.on("SIGBREAK", end); // Ctrl-Break of Windows
    }
    try {
      if (firstMessage !== undefined) {
        this.chat.addUser(firstMessage);
        await this.answer();
      }
      while (this.#leaving === "no" && !(singleTurn && this.#answers > 0)) {
        await this.#takeTurn();
      }
    } finally {
      stopListening();
      this.#repl.close();
    }
    if (this.#leaving === "interrupted") {
      throw new BitnetError("ABORTED", "left by Ctrl-C");
    }
  }

  async #takeTurn(): Promise<void> {
    const begun = this.#begun;
    this.#begun = "";
    const event = await this.#repl.read(prompt, continuedPrompt, begun);
    if (event.kind === "end") {
      this.#leaving = "done";
      return;
    }
    if (event.kind === "interrupt") {
      this.#interruptReading(event.empty);
      return;
    }
    this.#lastInterrupt = Number.NEGATIVE_INFINITY;
    if (event.kind === "tooLong") {
      await this.#reportErrors(async () => {
        throw new BitnetError("USAGE", `the message is too long: it has more than ${event.limit} characters`);
      });
      return;
    }
    const { text, isBlock } = event;
    const command = isBlock ? undefined : parseCommand(text);
    if (command !== undefined) {
      await this.#reportErrors(async () => findCommand(command.name).run(this, command.argument));
    } else if (text.trim() !== "") {
      // Two slashes send a message that begins with one.
      await this.#answerMessage(text.startsWith("//") && !isBlock ? text.slice(1) : text);
    }
  }

  async #answerMessage(text: string): Promise<void> {
    await this.#reportErrors(async () => {
      this.chat.addUser(text);
      await this.answer();
    });
  }

  /** Errors end what was asked for, not the conversation; unless they are faults of this program. */
  async #reportErrors(body: () => Promise<void>): Promise<void> {
    try {
      await body();
    } catch (thrown) {
      const error = toBitnetError(thrown);
      if (error.code === "INTERNAL") {
        throw error;
      }
      this.screen.error(error);
      if (this.screen.json) {
        this.screen.result({ error: { code: error.code, message: error.message } });
      }
    }
  }

  async answer(): Promise<void> {
    const controller = new AbortController();
    this.#answering = controller;
    try {
      const { signal } = controller;
      const options = { ...this.generate, seed: this.#nextSeed(), signal, onPrompt: this.#tellProgress() };
      const pieces = answerChat(this.chat, this.session, this.#model.tokenizer, options);
      for await (const { kind, text } of pieces) {
        if (!this.screen.json) {
          this.screen.answer(kind, text);
          await this.screen.ready(signal);
        }
      }
      this.#finishAnswer(await pieces.result);
    } finally {
      this.#answering = undefined;
    }
  }

  /** Shows how far a long prompt is read. */
  #tellProgress(): (known: number, total: number) => void {
    let first: { known: number; time: number } | undefined;
    return (known, total) => {
      const time = performance.now();
      first ??= { known, time };
      const seconds = ((time - first.time) / 1000) * ((total - known) / (known - first.known));
      const left = Number.isFinite(seconds) ? `, ${formatDuration(seconds)} left` : "";
      this.screen.status(`reading ${known} of ${total} tokens${left}`);
    };
  }

  #finishAnswer(answer: AnswerResult): void {
    this.lastAnswer = answer;
    for (const [key, value] of Object.entries(answer.timings) as [keyof GenerateTimings, number][]) {
      this.totals[key] += value;
    }
    if (this.screen.json) {
      const { text, ...rest } = answer;
      this.screen.result({ role: "assistant", content: text, ...rest });
    } else {
      this.screen.finishAnswer();
    }
    this.#noteForgotten(answer.droppedTurns);
    this.#noteEnd(answer);
    if (this.isVerbose) {
      this.screen.say(describeTimings(answer.timings).join("\n"));
    }
  }

  #noteForgotten(turns: number): void {
    if (turns > 0) {
      this.forgottenTurns += turns;
      const what = turns === 1 ? "oldest turn was" : `${turns} oldest turns were`;
      const total = this.forgottenTurns > turns ? `, ${this.forgottenTurns} in all` : "";
      this.screen.note(`(the context of ${this.session.contextSize} tokens is full: the ${what} forgotten${total})`);
    }
  }

  #noteEnd({ finishReason, timings }: AnswerResult): void {
    if (finishReason === "context") {
      this.screen.hint(`(stopped: the context of ${this.session.contextSize} tokens is full)`);
    } else if (finishReason === "length") {
      this.screen.hint(`(stopped after ${timings.generatedTokens} tokens: see -n)`);
    } else if (finishReason === "aborted" && this.#leaving === "no") {
      this.screen.hint("(stopped; Ctrl-C once more leaves)");
    }
  }

  get generate(): GenerateOptions {
    return this.#generate;
  }

  changeGenerate(change: GenerateOptions): void {
    const changed = { ...this.#generate, ...change };
    checkGenerateOptions("/set", changed);
    this.#generate = changed;
  }

  beginBlock(): void {
    this.#begun = `${blockMark}\n`;
  }

  useSystem(text: string): void {
    startChat(this.chat.format, this.#model, this.session, text); // throws if it cannot be used
    this.chat.system = text;
  }

  leave(): void {
    this.#leaving = "done";
  }

  /** A given seed counts up, so that /regen says something new and a whole conversation can be repeated. */
  #nextSeed(): number | undefined {
    const { seed } = this.generate;
    const step = this.#answers++;
    return seed === undefined ? undefined : (seed + step) % Number.MAX_SAFE_INTEGER;
  }

  #interruptBySignal(): void {
    if (this.#answering === undefined) {
      if (!this.#repl.isInteractive) {
        this.#leaving = "interrupted"; // also when the signal comes between two reads
      }
      this.#repl.interrupt();
    } else if (this.#answering.signal.aborted) {
      this.#leaving = "interrupted";
    } else {
      this.#lastInterrupt = performance.now();
      this.#answering.abort();
    }
  }

  #interruptReading(empty: boolean): void {
    const now = performance.now();
    if (empty && now - this.#lastInterrupt < doubleInterruptMs) {
      this.#leaving = "interrupted";
    } else if (empty) {
      this.#lastInterrupt = now;
      this.screen.hint("(Ctrl-C once more, Ctrl-D or /exit leaves)");
    }
  }
}
