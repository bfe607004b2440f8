// The commands of a conversation, as a table: what is typed after a slash, its help, what it does.

import type { AnswerResult } from "../chat/answer.js";
import type { Chat } from "../chat/chat.js";
import { loadChat, saveChat } from "../chat/file.js";
import type { GenerateTimings } from "../engine/generate.js";
import type { GenerateOptions } from "../engine/request.js";
import { closest } from "../system/closest.js";
import { BitnetError } from "../system/errors.js";
import { formatColumns } from "./terminal/format.js";
import type { Screen } from "./terminal/screen.js";
import { describeTimings } from "./terminal/timings.js";

/** What a command may see and do. */
export interface ConversationState {
  readonly chat: Chat;
  readonly session: { readonly contextSize: number; tokens(): Int32Array };
  readonly screen: Screen;
  /** Recorded in saved chats. */
  readonly modelName: string | undefined;
  readonly generate: GenerateOptions;
  readonly lastAnswer: AnswerResult | undefined;
  /** Of all answers. */
  readonly totals: GenerateTimings;
  /** Answers the last user message. */
  answer(): Promise<void>;
  /** Throws if the chat cannot have this system prompt. */
  useSystem(text: string): void;
  leave(): void;
}

export interface ConversationCommand {
  readonly usage: string;
  readonly help: string;
  run(state: ConversationState, argument: string): Promise<void> | void;
}

const commands: Readonly<Record<string, ConversationCommand>> = {
  help: { usage: "/help", help: "this list", run: showHelp },
  clear: {
    usage: "/clear",
    help: "forget the chat; the system prompt stays",
    run({ chat, screen }) {
      chat.clear();
      screen.hint("(the chat is forgotten)");
    },
  },
  system: { usage: "/system [TEXT]", help: 'show or change the system prompt; "" removes it', run: showOrUseSystem },
  regen: { usage: "/regen", help: "answer the last message again", run: regenerate },
  save: { usage: "/save FILE", help: "write the chat to a JSON file", run: save },
  load: { usage: "/load FILE", help: "go on with a saved chat", run: load },
  stats: { usage: "/stats", help: "tokens and speed", run: showStats },
  exit: { usage: "/exit", help: "leave, as Ctrl-D does", run: (state) => state.leave() },
};

/** The command of this name, "?" for help. Throws USAGE with what is there if there is none. */
export function findCommand(name: string): ConversationCommand {
  const known = name === "?" ? "help" : name.toLowerCase();
  const command = Object.hasOwn(commands, known) ? commands[known] : undefined;
  if (command === undefined) {
    const meant = closest(known, Object.keys(commands));
    const suggestion = meant === undefined ? "" : `did you mean /${meant}? `;
    throw new BitnetError("USAGE", `unknown command /${name}`, {
      hint: `${suggestion}/help lists the commands; a message that begins with / needs another / before it`,
    });
  }
  return command;
}

function showHelp({ screen }: ConversationState): void {
  screen.say(
    [
      ...formatColumns(Object.values(commands).map(({ usage, help }) => [usage, help])),
      `A \\ at the end of a line continues the message; """ begins and ends one of many lines.`,
      "Ctrl-C stops an answer. Arrow keys edit the line and bring back earlier ones.",
    ].join("\n"),
  );
}

function showOrUseSystem(state: ConversationState, text: string): void {
  const { chat, screen } = state;
  if (text === "") {
    screen.say(chat.system === "" ? "(no system prompt)" : chat.system);
    return;
  }
  state.useSystem(text === '""' ? "" : text);
  screen.hint(chat.system === "" ? "(no system prompt now)" : "(the system prompt is changed)");
}

async function regenerate(state: ConversationState): Promise<void> {
  if (!state.chat.removeAnswer() && !state.chat.isUnanswered) {
    throw new BitnetError("USAGE", "there is no answer yet");
  }
  await state.answer();
}

async function save({ chat, session, screen, modelName, generate }: ConversationState, path: string): Promise<void> {
  requirePath(path, "/save");
  const { signal, logitBias, ...options } = generate;
  await saveChat(path, {
    model: modelName,
    template: chat.format.name,
    system: chat.system,
    messages: [...chat.messages],
    options: { ...options, contextSize: session.contextSize },
  });
  screen.hint(`(saved to ${path})`);
}

async function load(state: ConversationState, path: string): Promise<void> {
  requirePath(path, "/load");
  const saved = await loadChat(path);
  state.useSystem(saved.system);
  state.chat.restore(saved.messages);
  state.screen.hint(`(${saved.messages.length} messages loaded from ${path})`);
}

function requirePath(path: string, command: string): void {
  if (path === "") {
    throw new BitnetError("USAGE", `${command} needs the name of a file`);
  }
}

function showStats({ chat, session, screen, lastAnswer, totals }: ConversationState): void {
  const speeds =
    lastAnswer === undefined
      ? []
      : ["last answer", ...describeTimings(lastAnswer.timings), "all answers", ...describeTimings(totals)];
  screen.say(
    [
      `messages: ${chat.messages.length}`,
      `context:  ${session.tokens().length} of ${session.contextSize} tokens`,
      ...speeds,
    ].join("\n"),
  );
}
