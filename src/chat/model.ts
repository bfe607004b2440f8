// The model of the library's face: it opens chats, too.

import type { Generation } from "../engine/generation.js";
import {
  type LoadOptions,
  loadModelAs,
  Model,
  type Session,
  type SessionOptions,
  sessionOptions,
} from "../engine/model.js";
import { checkGenerateOptions, type GenerateOptions } from "../engine/request.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { Chat } from "./chat.js";
import { builtinFormat, type ChatFormat, type ChatMessage, type FormatMessage, modelFormat } from "./format.js";
import { ChatSession, checkSystem, checkThinking, checkTurns } from "./session.js";
import { answerMessages, type MessagesOptions, type MessagesResult } from "./tools/answer.js";
import type { AnswerPiece } from "./tools/parser.js";

export interface ChatOptions extends SessionOptions {
  /** The system message. Default: none. */
  system?: string;
  /** Earlier messages, user and assistant in turn, as `chat.messages` gave them. Default: none. */
  messages?: readonly ChatMessage[];
  /** A built-in format by name, or any other. Default: the model's own template, else "bitnet". */
  format?: string | ChatFormat;
  /** Whether the model is to think before it answers, if its template leaves the choice. Default: as it likes. */
  thinking?: boolean;
  /** Options of every answer; those of `send` win. */
  generate?: GenerateOptions;
}

const chatOptions: OptionNames<ChatOptions> = {
  ...sessionOptions,
  system: true,
  messages: true,
  format: true,
  thinking: true,
  generate: true,
};

/** The model as the library hands it out: with sessions for text and for chats. */
export class ChatModel extends Model {
  #format: ChatFormat | undefined; // its own

  /** A new conversation with a session of its own. */
  createChat(options: ChatOptions = {}): ChatSession {
    checkOptionNames("createChat", options, chatOptions);
    const { system = "", messages = [], format, thinking, generate = {}, ...rest } = options;
    checkGenerateOptions("createChat: generate", generate);
    const chat = new Chat(this.#chooseFormat(format), this.tokenizer);
    chat.system = checkSystem(system);
    chat.thinking = checkThinking(thinking);
    chat.restore(checkTurns(messages));
    return new ChatSession(this.createSession(rest), chat, generate);
  }

  /**
   * Answers messages as OpenAI's interface has them, which may hold calls of tools and their results, in any session of
   * this model: what it has in its cache is not evaluated again. Wrong options throw here.
   */
  answer(
    session: Session,
    messages: readonly FormatMessage[],
    options: MessagesOptions = {},
  ): Generation<AnswerPiece, MessagesResult> {
    this.#format ??= this.#chooseFormat(undefined);
    return answerMessages(this.#format, session, messages, options);
  }

  #chooseFormat(format: string | ChatFormat | undefined): ChatFormat {
    if (format === undefined) {
      return modelFormat(this.info.chatTemplate, this.tokenizer);
    }
    return typeof format === "string" ? builtinFormat(format, this.tokenizer) : format;
  }
}

/** Loads a GGUF model. Large weights are copied to huge pages, which are faster to read; `inPlace` leaves them in the file. */
export function loadChatModel(path: string, options: LoadOptions = {}): Promise<ChatModel> {
  return loadModelAs(ChatModel, path, options);
}
