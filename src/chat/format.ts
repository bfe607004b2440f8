// Chat formats: how messages become the text a model was trained on. Built-in formats by name, or any Jinja template.

import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError } from "../system/errors.js";
import { Budget, LimitError, TemplateError } from "./template/limits.js";
import { type Plain, Template } from "./template/template.js";
import { findThinkingTags, type ThinkingTags } from "./thinking.js";

export interface ChatMessage {
  /** "system", "user" or "assistant"; a template may know more. */
  role: string;
  content: string;
  /** What the model thought before it answered; never part of a prompt. */
  thinking?: string;
}

/** A call of a tool in an answer, as OpenAI's interface writes it. */
export interface ToolCall {
  id?: string;
  type?: "function";
  /** A text of `arguments` that is a JSON object is one for the template: that is what templates expect. */
  function: { name: string; arguments: string | { readonly [key: string]: Plain } };
}

/** What a template can make of a message. Built-in formats write `content` alone. */
export interface FormatMessage {
  role: string;
  /** null beside tool calls. */
  content: string | null;
  /** Of an answer. */
  tool_calls?: readonly ToolCall[];
  /** Which call a message of the role "tool" answers. */
  tool_call_id?: string;
  /** Of the tool, or of who speaks. */
  name?: string;
  /** What the model thought before this answer; unlike `ChatMessage.thinking` for the template to write, or not. */
  reasoning_content?: string;
}

export interface RenderOptions {
  /** Whether the model is to think, if the template leaves the choice. Default: as the template does it. */
  thinking?: boolean;
  /** Tools that the model may call, as OpenAI's interface describes them. A format that has no place for them is the same
   * with and without. */
  tools?: readonly Plain[];
  /** More variables of the template, such as `reasoning_effort`. They go before `thinking` and the special tokens. */
  variables?: { readonly [name: string]: Plain };
}

export interface ChatFormat {
  /** A built-in name, the path of a template file, or "model" for the template inside the model file. */
  name: string;
  /** The whole chat as text; with `addGenerationPrompt` it ends where the answer is to begin. */
  render(messages: readonly FormatMessage[], addGenerationPrompt: boolean, options?: RenderOptions): string;
  /** What is around the thinking in answers of this format. Default: answers are text from the beginning. */
  readonly thinking?: ThinkingTags;
  /** Does the template know of thinking? Then a grammar leaves room for it before the answer. */
  readonly mayThink?: boolean;
  /** Does `RenderOptions.thinking` change anything? */
  readonly canSwitchThinking?: boolean;
}

/** What of a tokenizer the formats need: the texts of the special tokens. */
export type FormatTokenizer = Pick<Tokenizer, "encode" | "info" | "token">;

/** Special tokens as text; "" for one that the model does not have. */
interface SpecialTexts {
  bos: string;
  eos: string;
  unk: string;
  pad: string;
  /** Ends a message in the bitnet formats. */
  endOfTurn: string;
}

/** What built-in formats know of a message. */
type PlainMessage = Pick<ChatMessage, "role" | "content">;

interface BuiltinFormat {
  message(message: PlainMessage, special: SpecialTexts): string;
  generationPrompt: string;
  /** Changes the messages before they are written, for formats that have no system role. */
  prepare?(messages: readonly PlainMessage[]): PlainMessage[];
}

// BOS is in none of these: it is added once, when the text becomes tokens.
const builtinFormats: Record<string, BuiltinFormat> = {
  // The template of microsoft/BitNet-b1.58-2B-4T.
  bitnet: {
    message: ({ role, content }, { endOfTurn }) => `${capitalize(role)}: ${content.trim()}${endOfTurn}`,
    generationPrompt: "Assistant: ",
  },
  // What bitnet.cpp sends: nothing ends a system message or an answer.
  "bitnet-legacy": {
    message: ({ role, content }, { endOfTurn }) => {
      switch (role) {
        case "system":
          return `System: ${content}`;
        case "user":
          return `User: ${content}${endOfTurn}Assistant: `;
        default:
          return content;
      }
    },
    generationPrompt: "",
  },
  chatml: {
    message: ({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`,
    generationPrompt: "<|im_start|>assistant\n",
  },
  falcon3: {
    message: ({ role, content }, { eos }) => `<|${role}|>\n${content}${role === "assistant" ? eos : ""}\n`,
    generationPrompt: "<|assistant|>\n",
  },
  falcon_e: {
    message: ({ role, content }) => `${role}${content}\n`,
    generationPrompt: "assistant\n",
  },
  gemma: {
    message: ({ role, content }) =>
      `<start_of_turn>${role === "assistant" ? "model" : role}\n${content.trim()}<end_of_turn>\n`,
    generationPrompt: "<start_of_turn>model\n",
    prepare: (messages) => mergeSystem(messages, (system, user) => `${system.trim()}\n\n${user}`),
  },
  llama2: {
    message: ({ role, content }, { eos }) => (role === "assistant" ? `${content}${eos}` : `[INST] ${content} [/INST]`),
    generationPrompt: "",
    prepare: (messages) => mergeSystem(messages, (system, user) => `<<SYS>>\n${system}\n<</SYS>>\n\n${user}`),
  },
  llama3: {
    message: ({ role, content }) => `<|start_header_id|>${role}<|end_header_id|>\n\n${content.trim()}<|eot_id|>`,
    generationPrompt: "<|start_header_id|>assistant<|end_header_id|>\n\n",
  },
  phi3: {
    message: ({ role, content }) => `<|${role}|>\n${content}<|end|>\n`,
    generationPrompt: "<|assistant|>\n",
  },
  zephyr: {
    message: ({ role, content }) => `<|${role}|>\n${content}<|endoftext|>\n`,
    generationPrompt: "<|assistant|>\n",
  },
};

/** Names that --chat-template accepts beside the path of a Jinja file. */
export const chatFormatNames: readonly string[] = Object.keys(builtinFormats);

const defaultFormat = "bitnet";
// What templates call the switch: the first one is that of Qwen3 and most others, "thinking" that of DeepSeek and Granite.
const thinkingSwitches = ["enable_thinking", "thinking"];
// A template is a few kilobytes, the longest some thirty; this bounds what a hostile file makes the parser read.
const maxTemplateLength = 1 << 18;
// What a template may say about why it fails.
const maxReasonLength = 300;

/** Messages between two texts, and answers as they are: the way to talk with a model that no format fits. */
export function affixFormat({ prefix = "", suffix = "" }: { prefix?: string; suffix?: string }): ChatFormat {
  const write = ({ role, content }: PlainMessage) => (role === "user" ? prefix + content + suffix : content);
  return { name: "affixes", render: (messages) => toPlainMessages(messages).map(write).join("") };
}

/** A built-in format; USAGE if there is none of that name. */
export function builtinFormat(name: string, tokenizer: FormatTokenizer): ChatFormat {
  const format = Object.hasOwn(builtinFormats, name) ? builtinFormats[name] : undefined;
  if (format === undefined) {
    throw new BitnetError("USAGE", `no chat format "${name}"`, { hint: `one of: ${chatFormatNames.join(", ")}` });
  }
  const special = readSpecialTexts(tokenizer);
  return {
    name,
    render: (messages, addGenerationPrompt) => {
      const plain = toPlainMessages(messages);
      const prepared = format.prepare?.(plain) ?? plain;
      const text = prepared.map((message) => format.message(message, special)).join("");
      return addGenerationPrompt ? text + format.generationPrompt : text;
    },
    thinking: findThinkingTags(""),
  };
}

/** A format from a Jinja template; `name` is what error messages call it. */
export function jinjaFormat(source: string, name: string, tokenizer: FormatTokenizer): ChatFormat {
  const hint = `choose another format with --chat-template NAME or FILE (${chatFormatNames.join(", ")})`;
  const called = name === "model" ? "the model's chat template" : `the chat template ${name}`;
  if (source.length > maxTemplateLength) {
    throw new BitnetError("BAD_FILE", `${called} is ${source.length} characters long: at most ${maxTemplateLength}`, {
      hint,
    });
  }
  const template = attempt(() => new Template(source.replace(/^\uFEFF/, "")), called, "cannot be compiled", hint);
  const special = readSpecialTexts(tokenizer);
  return {
    name,
    render: (messages, addGenerationPrompt, options = {}) => {
      const variables = createVariables(messages, addGenerationPrompt, special, options);
      const budget = new Budget(messages.length, countCharacters(variables));
      return attempt(() => template.render(variables, budget), called, "failed", hint);
    },
    thinking: findThinkingTags(source),
    mayThink: source.includes(findThinkingTags(source).close),
    canSwitchThinking: thinkingSwitches.some((name) => new RegExp(`\\b${name}\\b`).test(source)),
  };
}

/** What a template sees: the names that transformers gives it. */
function createVariables(
  messages: readonly FormatMessage[],
  addGenerationPrompt: boolean,
  special: SpecialTexts,
  { thinking, tools = [], variables = {} }: RenderOptions,
): { readonly [name: string]: Plain } {
  return {
    bos_token: special.bos,
    eos_token: special.eos,
    unk_token: special.unk,
    pad_token: special.pad,
    documents: null,
    ...(thinking === undefined ? {} : Object.fromEntries(thinkingSwitches.map((name) => [name, thinking]))),
    ...variables,
    messages: messages.map(toTemplateMessage),
    add_generation_prompt: addGenerationPrompt,
    tools: tools.length === 0 ? null : tools,
  };
}

function toPlainMessages(messages: readonly FormatMessage[]): PlainMessage[] {
  return messages.map(({ role, content }) => ({ role, content: content ?? "" }));
}

/** Only what is there: templates ask whether `tool_calls` and the others are defined. */
function toTemplateMessage(message: FormatMessage): { [name: string]: Plain } {
  const { role, content, tool_calls, tool_call_id, name, reasoning_content } = message;
  return {
    role,
    content,
    ...(tool_calls === undefined ? {} : { tool_calls: tool_calls.map(toTemplateCall) }),
    ...(tool_call_id === undefined ? {} : { tool_call_id }),
    ...(name === undefined ? {} : { name }),
    ...(reasoning_content === undefined ? {} : { reasoning_content }),
  };
}

function toTemplateCall({ id, type = "function", function: called }: ToolCall): { [name: string]: Plain } {
  const written = { name: called.name, arguments: readArguments(called.arguments) };
  return { ...(id === undefined ? {} : { id }), type, function: written };
}

function readArguments(written: ToolCall["function"]["arguments"]): Plain {
  if (typeof written !== "string") {
    return written;
  }
  try {
    const value = JSON.parse(written) as Plain;
    return typeof value === "object" && value !== null ? value : written;
  } catch {
    return written; // as a model wrote it
  }
}

/** Of all texts inside, names of entries included. A loop: what clients send may be nested deep. */
function countCharacters(variables: Plain): number {
  let count = 0;
  const open: Plain[] = [variables];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value === "string") {
      count += value.length;
    } else if (typeof value === "object" && value !== null) {
      for (const [name, inner] of Object.entries(value)) {
        count += name.length;
        open.push(inner);
      }
    }
  }
  return count;
}

/**
 * The format of a model: its own template, or the bitnet format if it has none. Early converters of bitnet.cpp wrote
 * a template that no program ever evaluated and that the models were not trained on; it stands for the bitnet format.
 */
export function modelFormat(chatTemplate: string | null, tokenizer: FormatTokenizer): ChatFormat {
  if (chatTemplate === null || chatTemplate.trim() === "" || chatTemplate.includes("BITNETAssistant")) {
    return builtinFormat(defaultFormat, tokenizer);
  }
  return jinjaFormat(chatTemplate, "model", tokenizer);
}

function attempt<T>(body: () => T, called: string, failure: string, hint: string): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof TemplateError)) {
      throw error;
    }
    const reason = error.message.slice(0, maxReasonLength).replace(/\n.*/s, "");
    const message = error instanceof LimitError ? `${called} ${reason}` : `${called} ${failure}: ${reason}`;
    throw new BitnetError("BAD_FILE", message, { hint, cause: error });
  }
}

function readSpecialTexts(tokenizer: FormatTokenizer): SpecialTexts {
  const { bos, eos, unk, pad } = tokenizer.info;
  const text = (id: number) => (id < 0 ? "" : tokenizer.token(id));
  // Base models of the first generation have no <|eot_id|>; for them it would be eight meaningless tokens.
  const eot = "<|eot_id|>";
  const hasEot = tokenizer.encode(eot, { addSpecial: false, parseSpecial: true }).length === 1;
  return { bos: text(bos), eos: text(eos), unk: text(unk), pad: text(pad), endOfTurn: hasEot ? eot : text(eos) };
}

function capitalize(role: string): string {
  return role.charAt(0).toUpperCase() + role.slice(1).toLowerCase();
}

/** The system message becomes part of the first user message. */
function mergeSystem(
  messages: readonly PlainMessage[],
  join: (system: string, user: string) => string,
): PlainMessage[] {
  const [first, second, ...rest] = messages;
  if (first?.role !== "system") {
    return [...messages];
  }
  if (second?.role !== "user") {
    return [{ role: "user", content: join(first.content, "") }, ...messages.slice(1)];
  }
  return [{ role: "user", content: join(first.content, second.content) }, ...rest];
}
