// What /show tells of a conversation and its model.

import { openGguf } from "../gguf/gguf.js";
import { closest } from "../system/closest.js";
import { BitnetError } from "../system/errors.js";
import { describeParameters } from "./conversation-settings.js";
import type { ConversationState } from "./conversation-state.js";
import { formatBytes } from "./terminal/format.js";

interface Topic {
  help: string;
  show(state: ConversationState): void;
}

const topics: Readonly<Record<string, Topic>> = {
  info: { help: "architecture, size, context, kernel", show: showInfo },
  parameters: {
    help: "how the next token is chosen",
    show: (state) => state.screen.sayRows(describeParameters(state)),
  },
  system: {
    help: "the system prompt",
    show: ({ chat, screen }) => screen.say(chat.system === "" ? "(no system prompt)" : chat.system),
  },
  template: { help: "the chat template", show: showTemplate },
  license: { help: "the license that the model file names", show: showLicense },
  model: { help: "name and file of the model", show: showModel },
};
const otherNames: Readonly<Record<string, string>> = { modelfile: "model", modelinfo: "info", parameter: "parameters" };

export function topicNames(): string[] {
  return Object.keys(topics);
}

export function show(state: ConversationState, argument: string): void {
  const asked = argument.toLowerCase();
  const name = Object.hasOwn(otherNames, asked) ? (otherNames[asked] ?? asked) : asked;
  const topic = Object.hasOwn(topics, name) ? topics[name] : undefined;
  if (name === "") {
    state.screen.sayRows(Object.entries(topics).map(([each, { help }]): [string, string] => [`/show ${each}`, help]));
  } else if (topic === undefined) {
    const meant = closest(name, topicNames());
    throw new BitnetError("USAGE", `/show knows no ${argument}`, {
      hint: meant === undefined ? `one of: ${topicNames().join(", ")}` : `did you mean /show ${meant}?`,
    });
  } else {
    topic.show(state);
  }
}

function showInfo({ about: { info }, chat, screen, session }: ConversationState): void {
  const { architecture, parameterCount, weightType, embeddingType, fileSize, kernel, threads } = info;
  const rows: [string, string | number | undefined | null][] = [
    ["name", info.name],
    ["architecture", architecture],
    ["parameters", parameterCount && `${(parameterCount / 1e6).toPrecision(3)} million`],
    ["weights", weightType && `${weightType}, embedding ${embeddingType}`],
    ["file", fileSize && formatBytes(fileSize)],
    ["vocabulary", info.vocabSize],
    ["layers", info.blockCount],
    ["embedding", info.embeddingLength],
    ["trained context", info.contextLength],
    ["context", `${session.contextSize}, ${session.tokens().length} of it used`],
    ["chat format", chat.format.name],
    ["kernel", kernel && `${kernel}, ${threads} threads`],
  ];
  screen.sayRows(rows.flatMap(([name, value]): [string, string][] => (value ? [[name, String(value)]] : [])));
}

function showTemplate({ about: { info }, chat, screen }: ConversationState): void {
  const isOfModel = chat.format.name === "model" && info.chatTemplate;
  screen.say(isOfModel ? isOfModel.trimEnd() : `(the ${chat.format.name} format)`);
}

function showLicense({ about: { path }, screen }: ConversationState): void {
  const metadata = path === undefined ? {} : openGguf(path).metadata();
  const keys = ["general.license", "general.license.name", "general.license.link"];
  const lines = keys.flatMap((key) => (typeof metadata[key] === "string" ? [metadata[key]] : []));
  screen.say(lines.length === 0 ? "(the model file names no license)" : lines.join("\n"));
}

function showModel({ about: { info, path }, modelName, screen }: ConversationState): void {
  screen.sayRows([
    ["name", info.name ?? modelName ?? "(none)"],
    ["file", path ?? "(unknown)"],
  ]);
}
