// What /set changes in a conversation: the parameters of its answers, and how it looks.

import { type GenerateOptions, listSamplingParameters } from "../engine/request.js";
import { Grammar } from "../grammar/grammar.js";
import { closest } from "../system/closest.js";
import { BitnetError, reasonOf } from "../system/errors.js";
import { asOneSentence } from "./command.js";
import { constraintRows, parseSchema } from "./constraint.js";
import { readText, readTexts } from "./conversation-arguments.js";
import type { ConversationState } from "./conversation-state.js";
import type { OptionRow } from "./option-rows.js";
import { generationRows, samplingGroup } from "./options.js";
import { unescapeText } from "./parsers.js";

type Parameter = keyof GenerateOptions;

/** The options of `bitnet run` that can change from answer to answer. */
function listParameters(): readonly [Parameter, OptionRow][] {
  const { maxTokens, ignoreEos, stop } = generationRows;
  const { grammar, schema } = constraintRows;
  const rows = { ...samplingGroup().rows, maxTokens, ignoreEos, stop, grammar, schema };
  return Object.entries(rows) as [Parameter, OptionRow][];
}

// What other programs call them.
const otherNames: Readonly<Record<string, Parameter>> = { numpredict: "maxTokens" };
const fixedNames: Readonly<Record<string, string>> = {
  numctx: "-c",
  ctxsize: "-c",
  numthread: "-t",
  threads: "-t",
};

/** Names without what writers differ in: --top-k, top_k and topK are one. */
function plainName(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, "");
}

/** "top_k" of topK. */
function shownName(key: Parameter): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

export function parameterNames(): string[] {
  return listParameters().map(([key]) => shownName(key));
}

function findParameter(name: string): [Parameter, OptionRow] {
  const wanted = plainName(name);
  const found = listParameters().find(([key, { flags, aliases = [] }]) => {
    const spellings = [key, ...flags.replace(/[<[].*$/, "").split(", "), ...aliases].map((text) =>
      plainName(text.trim()),
    );
    return spellings.includes(wanted) || otherNames[wanted] === key;
  });
  if (found !== undefined) {
    return found;
  }
  const option = Object.hasOwn(fixedNames, wanted) ? fixedNames[wanted] : undefined;
  if (option !== undefined) {
    throw new BitnetError("USAGE", `${name} cannot change during a chat`, { hint: `bitnet run -cnv ${option} N` });
  }
  const meant = closest(name.toLowerCase(), [...parameterNames(), ...Object.keys(switches), "system", "parameter"]);
  throw new BitnetError("USAGE", `/set knows no ${name}`, {
    hint: meant === undefined ? "/set shows what there is" : `did you mean ${meant}?`,
  });
}

function parseValue(key: Parameter, row: OptionRow, argument: string): unknown {
  if (!row.flags.includes("<")) {
    const value = { true: true, on: true, "": true, false: false, off: false }[argument.toLowerCase()];
    if (value === undefined) {
      throw new Error(`Expected true or false, got ${argument}.`);
    }
    return value;
  }
  if (key === "grammar" || key === "schema") {
    return parseConstraint(key, argument); // as it is typed: quotes are part of it
  }
  const texts =
    key === "stop" || key === "drySequenceBreakers" ? readTexts(argument).map(unescapeText) : [readText(argument)];
  const parse = row.parse as ((text: string, earlier?: unknown) => unknown) | undefined;
  const value = texts.reduce<unknown>(
    (earlier, text) => (parse === undefined ? text : parse(text, earlier)),
    undefined,
  );
  if (key === "seed" && value === -1) {
    return undefined; // random
  }
  return key === "maxTokens" ? Math.max(Number(value), -1) : value;
}

/** Checked here, before an answer needs it. */
function parseConstraint(key: "grammar" | "schema", argument: string): GenerateOptions[typeof key] {
  if (argument === "none") {
    return undefined;
  }
  if (key === "grammar") {
    return Grammar.fromGbnf(argument);
  }
  const schema = parseSchema(argument);
  Grammar.fromJsonSchema(schema);
  return schema;
}

function setParameter(state: ConversationState, name: string, argument: string): void {
  const [key, row] = findParameter(name);
  const shown = shownName(key);
  if (argument === "" && row.flags.includes("<")) {
    state.screen.say(`${shown} ${describeValue(key, state.generate[key])}`);
    return;
  }
  let value: unknown;
  if (argument === "default") {
    value = state.initialGenerate[key];
  } else {
    try {
      value = parseValue(key, row, argument);
    } catch (error) {
      throw new BitnetError("USAGE", asOneSentence(`/set ${shown}: ${reasonOf(error)}`), {
        hint: row.help,
        cause: error,
      });
    }
  }
  const other = { grammar: "schema", schema: "grammar" }[String(key)];
  state.changeGenerate({ [key]: value, ...(other === undefined ? {} : { [other]: undefined }) });
  state.screen.hint(`(${shown} is ${describeValue(key, value)} now)`);
}

function describeValue(key: Parameter, value: unknown): string {
  if (value instanceof Map) {
    return [...value].map(([id, bias]) => `${id}${bias < 0 ? "" : "+"}${bias}`).join(" ");
  }
  if (value instanceof Grammar) {
    const [first = "", ...others] = value.source.trim().split("\n");
    return others.length === 0 ? first : `${first} ...`;
  }
  if (typeof value === "object" && !Array.isArray(value)) {
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) {
    return value.length === 0 ? "none" : value.map((text) => JSON.stringify(text)).join(" ");
  }
  if (value !== undefined && !(key === "maxTokens" && value === -1)) {
    return String(value);
  }
  const standard = listSamplingParameters().find(({ name }) => name === key && name !== "seed")?.standard;
  return standard === undefined ? (unset[key] ?? "none") : describeValue(key, roundFloat(standard));
}

const unset: Partial<Record<Parameter, string>> = { seed: "random", maxTokens: "no limit", ignoreEos: "false" };

function roundFloat(value: number | readonly string[]): unknown {
  return typeof value === "number" ? Number(value.toPrecision(6)) : value;
}

/** Name and value of every parameter. */
export function describeParameters({ generate }: Pick<ConversationState, "generate">): [string, string][] {
  return listParameters().map(([key]) => [shownName(key), describeValue(key, generate[key])]);
}

interface Switch {
  help: string;
  change(state: ConversationState): string;
}

const switches: Readonly<Record<string, Switch>> = {
  verbose: {
    help: "show speeds after each answer",
    change(state) {
      state.isVerbose = true;
      return "speeds are shown after each answer";
    },
  },
  quiet: {
    help: "show them at the end only",
    change(state) {
      state.isVerbose = false;
      return "speeds are shown at the end only";
    },
  },
  wordwrap: {
    help: "break lines of answers between words",
    change({ screen }) {
      screen.wrapsWords = true;
      return "answers are wrapped between words";
    },
  },
  nowordwrap: {
    help: "leave line breaks to the terminal",
    change({ screen }) {
      screen.wrapsWords = false;
      return "answers are not wrapped";
    },
  },
  think: { help: "let the model think before it answers", change: (state) => switchThinking(state, true) },
  nothink: { help: "let it answer at once", change: (state) => switchThinking(state, false) },
  history: {
    help: "keep what is typed for the next chat",
    change(state) {
      state.keepsHistory = true;
      return "typed messages are kept";
    },
  },
  nohistory: {
    help: "do not keep it",
    change(state) {
      state.keepsHistory = false;
      return "what is typed from now on is not kept";
    },
  },
};

function switchThinking({ chat }: ConversationState, thinks: boolean): string {
  if (chat.format.canSwitchThinking !== true) {
    throw new BitnetError("USAGE", "the chat template of this model has no switch for thinking");
  }
  chat.thinking = thinks;
  return thinks ? "the model thinks before it answers" : "the model answers at once";
}

/** What may stand after /set. */
export function settingNames(): string[] {
  return [...Object.keys(switches), "system", "parameter", ...parameterNames()];
}

/** "NAME VALUE", "parameter NAME VALUE", "system TEXT" or one of the switches. */
export function set(state: ConversationState, argument: string): void {
  const [, name = "", rest = ""] = /^(\S+)\s*(.*)$/s.exec(argument) ?? [];
  const found = Object.hasOwn(switches, name.toLowerCase()) ? switches[name.toLowerCase()] : undefined;
  if (name === "") {
    showSettings(state);
  } else if (name === "parameter") {
    const [, parameter = "", value = ""] = /^(\S+)\s*(.*)$/s.exec(rest) ?? [];
    if (parameter === "") {
      state.screen.sayRows(describeParameters(state));
    } else {
      setParameter(state, parameter, value);
    }
  } else if (name === "system") {
    state.useSystem(readText(rest));
    state.screen.hint(state.chat.system === "" ? "(no system prompt now)" : "(the system prompt is changed)");
  } else if (found !== undefined && rest === "") {
    state.screen.hint(`(${found.change(state)})`);
  } else {
    setParameter(state, name, rest);
  }
}

function showSettings(state: ConversationState): void {
  state.screen.sayRows([
    ["/set NAME VALUE", 'a parameter of the answers; the value "default" is that of the start'],
    ["/set system TEXT", "the system prompt"],
    ...Object.entries(switches).map(([name, { help }]): [string, string] => [`/set ${name}`, help]),
  ]);
  state.screen.say("");
  state.screen.sayRows(describeParameters(state));
}
