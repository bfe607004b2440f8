// Formats that write calls of tools in different ways, from the fixtures, and tools to call.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { builtinFormat, type ChatFormat, type FormatTokenizer, jinjaFormat } from "../../src/chat/format.js";
import type { Tool } from "../../src/chat/tools/tool.js";
import { root } from "./fixtures.js";

export interface ToolFormats {
  /** `<tool_call>` with JSON, as Hermes and Qwen have it. */
  hermes: ChatFormat;
  /** The same, of a model that thinks. */
  thinker: ChatFormat;
  /** A list after a mark, with ids of nine characters, as Mistral has it. */
  listed: ChatFormat;
  /** Nothing but JSON, as Llama 3 has it. */
  bare: ChatFormat;
  /** Knows no tools. */
  generic: ChatFormat;
}

export function toolFormats(tokenizer: FormatTokenizer): ToolFormats {
  const fixture = (name: string) => readFileSync(join(root, "test", "fixtures", "templates", `${name}.jinja`), "utf8");
  const thinker = fixture("thinking-tools")
    .replaceAll("<call>", "<tool_call>\\n")
    .replaceAll("</call>", "\\n</tool_call>");
  return {
    hermes: jinjaFormat(thinker.replaceAll("think>", "x>"), "hermes", tokenizer),
    thinker: jinjaFormat(thinker, "thinker", tokenizer),
    listed: jinjaFormat(fixture("brackets"), "listed", tokenizer),
    bare: jinjaFormat(fixture("headers"), "bare", tokenizer),
    generic: builtinFormat("chatml", tokenizer),
  };
}

export const weather: Tool = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a place.",
    parameters: {
      type: "object",
      properties: { place: { type: "string", maxLength: 10 }, days: { type: "integer", minimum: 1, maximum: 3 } },
      required: ["place"],
      additionalProperties: false,
    },
  },
};
export const now: Tool = { type: "function", function: { name: "now" } };
