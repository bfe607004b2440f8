// The commands of a conversation, as a table: what is typed after a slash, its help, what it does.

import { loadChat, saveChat } from "../chat/file.js";
import { closest } from "../system/closest.js";
import { BitnetError } from "../system/errors.js";
import { readPath, readText } from "./conversation-arguments.js";
import { completePath, completeWord } from "./conversation-completion.js";
import { parameterNames, set, settingNames } from "./conversation-settings.js";
import { show, topicNames } from "./conversation-show.js";
import type { ConversationState } from "./conversation-state.js";
import type { Completion } from "./terminal/edit-line.js";
import { describeTimings } from "./terminal/timings.js";

export interface ConversationCommand {
  readonly usage: string;
  readonly help: string;
  /** Other names, as other programs have them. */
  readonly aliases?: readonly string[];
  /** What Tab makes of the text behind the name. */
  complete?(argument: string): Completion;
  run(state: ConversationState, argument: string): Promise<void> | void;
}

const commands: Readonly<Record<string, ConversationCommand>> = {
  help: { usage: "/help", help: "this list; also /?", aliases: ["?"], run: showHelp },
  clear: {
    usage: "/clear",
    help: "forget the chat; the system prompt stays",
    run({ chat, screen }) {
      chat.clear();
      screen.hint("(the chat is forgotten)");
    },
  },
  system: { usage: "/system [TEXT]", help: 'show or change the system prompt; "" removes it', run: showOrUseSystem },
  set: {
    usage: "/set [NAME VALUE]",
    help: "change a parameter: /set temperature 0.2; alone it shows them",
    run: set,
    complete: completeSetting,
  },
  show: {
    usage: "/show TOPIC",
    help: "info, parameters, system, template, license or model",
    run: show,
    complete: (argument) => completeWord(argument, topicNames()),
  },
  regen: { usage: "/regen", help: "answer the last message again", run: regenerate },
  multiline: {
    usage: "/multiline",
    help: 'begin a message of many lines, as """ does; """ ends it',
    run: (state) => state.beginBlock(),
  },
  save: { usage: "/save FILE", help: "write the chat to a JSON file", run: save, complete: completePath },
  load: { usage: "/load FILE", help: "go on with a saved chat", run: load, complete: completePath },
  stats: { usage: "/stats", help: "tokens and speed", run: showStats },
  exit: {
    usage: "/exit",
    help: "leave, as Ctrl-D does; also /bye, /quit",
    aliases: ["bye", "quit", "q"],
    run: (state) => state.leave(),
  },
};

const namePattern = /^\/([A-Za-z?]+)(?:\s+(.*))?$/s;

/** Name and argument of a message that is a command. */
export function parseCommand(text: string): { name: string; argument: string } | undefined {
  const match = namePattern.exec(text.trim());
  return match === null ? undefined : { name: match[1] ?? "", argument: (match[2] ?? "").trim() };
}

/** The command of this name. Throws USAGE with the nearest one if there is none. */
export function findCommand(name: string): ConversationCommand {
  const known = name.toLowerCase();
  const command = Object.hasOwn(commands, known)
    ? commands[known]
    : Object.values(commands).find(({ aliases = [] }) => aliases.includes(known));
  if (command === undefined) {
    const meant = closest(known, [...Object.keys(commands), "bye", "quit"]);
    const suggestion = meant === undefined ? "" : `did you mean /${meant}? `;
    throw new BitnetError("USAGE", `unknown command /${name}`, {
      hint: `${suggestion}/help lists the commands; a message that begins with / needs another / before it`,
    });
  }
  return command;
}

/** What Tab completes: names of commands, and what the command behind one knows. */
export function completeCommand(before: string): Completion {
  const [, name = "", space = "", argument = ""] = /^\/([A-Za-z?]*)(\s*)(.*)$/s.exec(before) ?? [];
  if (!before.startsWith("/") || (space === "" && argument !== "")) {
    return { start: before.length, candidates: [] };
  }
  if (space === "") {
    return completeWord(
      before,
      Object.keys(commands).map((each) => `/${each}`),
    );
  }
  const command = Object.hasOwn(commands, name.toLowerCase()) ? commands[name.toLowerCase()] : undefined;
  const completion = command?.complete?.(argument) ?? { start: argument.length, candidates: [] };
  return { ...completion, start: before.length - argument.length + completion.start };
}

function completeSetting(argument: string): Completion {
  const isParameter = /^parameter\s+/.exec(argument);
  if (isParameter === null) {
    return completeWord(argument, settingNames());
  }
  const begin = isParameter[0].length;
  const { start, candidates } = completeWord(argument.slice(begin), parameterNames());
  return { start: begin + start, candidates };
}

function showHelp({ screen }: ConversationState): void {
  screen.sayRows(Object.values(commands).map(({ usage, help }): [string, string] => [usage, help]));
  screen.say(
    [
      `A \\ at the end of a line continues the message; """ begins and ends one of many lines.`,
      "Tab completes commands and files. Ctrl-C stops an answer. Arrow keys edit, and bring back earlier messages.",
    ].join("\n"),
  );
}

function showOrUseSystem(state: ConversationState, argument: string): void {
  const { chat, screen } = state;
  if (argument === "") {
    screen.say(chat.system === "" ? "(no system prompt)" : chat.system);
    return;
  }
  state.useSystem(readText(argument));
  screen.hint(chat.system === "" ? "(no system prompt now)" : "(the system prompt is changed)");
}

async function regenerate(state: ConversationState): Promise<void> {
  if (!state.chat.removeAnswer() && !state.chat.isUnanswered) {
    throw new BitnetError("USAGE", "there is no answer yet");
  }
  await state.answer();
}

async function save(
  { chat, session, screen, modelName, generate }: ConversationState,
  argument: string,
): Promise<void> {
  const path = requirePath(argument, "/save");
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

async function load(state: ConversationState, argument: string): Promise<void> {
  const path = requirePath(argument, "/load");
  const saved = await loadChat(path);
  state.useSystem(saved.system);
  state.chat.restore(saved.messages);
  state.screen.hint(`(${saved.messages.length} messages loaded from ${path})`);
}

function requirePath(argument: string, command: string): string {
  const path = readPath(argument);
  if (path === "") {
    throw new BitnetError("USAGE", `${command} needs the name of a file`);
  }
  return path;
}

function showStats({ chat, session, screen, lastAnswer, totals, forgottenTurns }: ConversationState): void {
  const speeds =
    lastAnswer === undefined
      ? []
      : ["last answer", ...describeTimings(lastAnswer.timings), "all answers", ...describeTimings(totals)];
  screen.say(
    [
      `messages: ${chat.messages.length}`,
      `context:  ${session.tokens().length} of ${session.contextSize} tokens`,
      ...(forgottenTurns > 0 ? [`forgotten: ${forgottenTurns} turns`] : []),
      ...speeds,
    ].join("\n"),
  );
}
