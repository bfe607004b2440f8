// What a model thinks before it answers: told apart from the answer by the tags around it.

import type { Tokenizer } from "../engine/tokenizer.js";

/** What begins and ends the thinking part of an answer, as the model writes it. */
export interface ThinkingTags {
  open: string;
  close: string;
}

/** A stretch of an answer as it comes; never empty. */
export interface ChatPiece {
  kind: "thinking" | "text";
  text: string;
}

// By family; a template names those of its model. The first ones are by far the most common.
const usualTags: ThinkingTags = { open: "<think>", close: "</think>" };
const knownTags: readonly ThinkingTags[] = [
  usualTags, // DeepSeek-R1, Qwen3, GLM, SmolLM3, Phi-4-reasoning
  { open: "[THINK]", close: "[/THINK]" }, // Magistral
  { open: "<|START_THINKING|>", close: "<|END_THINKING|>" }, // Command A
  { open: "<seed:think>", close: "</seed:think>" }, // Seed-OSS
  { open: "<thought>", close: "</thought>" }, // EXAONE Deep
];

/** The tags that a template names, else the usual ones: an answer that begins with those is not meant to be read. */
export function findThinkingTags(template: string): ThinkingTags {
  return knownTags.find(({ close }) => template.includes(close)) ?? usualTags;
}

/** The tag that a generated token is, if it is a control token, which has no text; else "". */
export function controlTagOf(tags: ThinkingTags | undefined, tokenizer: Pick<Tokenizer, "piece">, id: number): string {
  if (tags === undefined || tokenizer.piece(id) !== "") {
    return "";
  }
  const name = tokenizer.piece(id, { special: true });
  return name === tags.open || name === tags.close ? name : "";
}

/**
 * Divides an answer, which comes in stretches of any length. Only its beginning can be thinking. The tags and the white
 * space around them belong to neither part; an answer without tags is passed on as it is.
 */
export class ThinkingSplitter {
  readonly #tags: ThinkingTags | undefined;
  // "gap": between the closing tag and the text.
  #state: "begin" | "thinking" | "gap" | "text";
  #held = "";
  readonly #said = { thinking: "", text: "" };
  #hasThought: boolean;

  /** `isThinking`: the prompt has written the opening tag already. Without tags everything is text. */
  constructor(tags: ThinkingTags | undefined, isThinking = false) {
    this.#tags = tags;
    this.#state = tags === undefined ? "text" : isThinking ? "thinking" : "begin";
    this.#hasThought = this.#state === "thinking";
  }

  /** All pieces of kind "text" so far. */
  get text(): string {
    return this.#said.text;
  }

  /** All pieces of kind "thinking" so far. */
  get thinking(): string {
    return this.#said.thinking;
  }

  /** Is anything left out of the text? */
  get hasThought(): boolean {
    return this.#hasThought;
  }

  /** What is certain with this stretch. */
  push(stretch: string): ChatPiece[] {
    this.#held += stretch;
    const pieces: ChatPiece[] = [];
    const { open, close } = this.#tags ?? usualTags;
    if (this.#state === "begin") {
      this.#begin(open);
    }
    if (this.#state === "thinking") {
      this.#think(close, pieces);
    }
    if (this.#state === "gap") {
      this.#held = this.#held.trimStart();
      this.#state = this.#held === "" ? "gap" : "text";
    }
    if (this.#state === "text") {
      this.#say("text", this.#held, pieces);
      this.#held = "";
    }
    return pieces;
  }

  /** The rest of an answer that has come to its end. */
  finish(): ChatPiece[] {
    const pieces: ChatPiece[] = [];
    if (this.#state === "thinking") {
      this.#say("thinking", this.#held.trimEnd(), pieces);
    } else if (this.#state === "begin") {
      this.#say("text", this.#held, pieces);
    }
    this.#held = "";
    return pieces;
  }

  #begin(open: string): void {
    const start = this.#held.trimStart();
    if (start.startsWith(open)) {
      this.#state = "thinking";
      this.#hasThought = true;
      this.#held = start.slice(open.length);
    } else if (!open.startsWith(start)) {
      this.#state = "text";
    }
  }

  #think(close: string, pieces: ChatPiece[]): void {
    if (this.#said.thinking === "") {
      this.#held = this.#held.trimStart();
    }
    const end = this.#held.indexOf(close);
    const certain = this.#held.slice(0, end >= 0 ? end : this.#held.length - beginningLength(this.#held, close));
    this.#say("thinking", certain.trimEnd(), pieces);
    if (end >= 0) {
      this.#state = "gap";
      this.#held = this.#held.slice(end + close.length);
    } else {
      this.#held = this.#held.slice(certain.trimEnd().length);
    }
  }

  #say(kind: ChatPiece["kind"], text: string, pieces: ChatPiece[]): void {
    if (text !== "") {
      this.#said[kind] += text;
      pieces.push({ kind, text });
    }
  }
}

/** How many characters at the end of `text` are the beginning of `tag`. */
function beginningLength(text: string, tag: string): number {
  for (let length = Math.min(tag.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(tag.slice(0, length))) {
      return length;
    }
  }
  return 0;
}
