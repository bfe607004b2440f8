// What the commands of a conversation may see and do.

import type { AnswerResult } from "../chat/answer.js";
import type { Chat } from "../chat/chat.js";
import type { GenerateTimings } from "../engine/generate.js";
import type { ModelInfo } from "../engine/model.js";
import type { GenerateOptions } from "../engine/request.js";
import type { Screen } from "./terminal/screen.js";

export interface ConversationState {
  readonly chat: Chat;
  readonly session: { readonly contextSize: number; tokens(): Int32Array };
  readonly screen: Screen;
  /** Recorded in saved chats. */
  readonly modelName: string | undefined;
  /** The model, for /show. */
  readonly about: { readonly info: Partial<ModelInfo>; readonly path?: string };
  readonly generate: GenerateOptions;
  /** As the conversation began with it. */
  readonly initialGenerate: GenerateOptions;
  /** Whether speeds are shown after each answer. */
  isVerbose: boolean;
  /** Whether what is typed goes to the history file. */
  keepsHistory: boolean;
  /** Since the conversation began. */
  readonly forgottenTurns: number;
  readonly lastAnswer: AnswerResult | undefined;
  /** Of all answers. */
  readonly totals: GenerateTimings;
  /** Answers the last user message. */
  answer(): Promise<void>;
  changeGenerate(change: GenerateOptions): void;
  /** The next message is a block, as if """ had been typed. */
  beginBlock(): void;
  /** Throws if the chat cannot have this system prompt. */
  useSystem(text: string): void;
  leave(): void;
}
