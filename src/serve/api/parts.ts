// An answer as a sequence of parts, each of one kind, as dialects have it that number blocks or items.

import type { Answer, AnswerPiece } from "../request.js";

export interface AnswerPart {
  kind: "thinking" | "text" | "call";
  /** Among all parts. */
  place: number;
  /** Thinking, text, or the arguments of a call, so far. */
  text: string;
  /** Of the tool. */
  name: string;
}

/** "add" comes between the two others, and its text is never empty. */
export type PartEvent = { kind: "begin" | "end"; part: AnswerPart } | { kind: "add"; part: AnswerPart; text: string };

/** Turns the pieces of one answer into parts that begin, grow and end. */
export class PartReader {
  readonly #parts: AnswerPart[] = [];
  #open: AnswerPart | undefined;

  get parts(): readonly AnswerPart[] {
    return this.#parts;
  }

  push(pieces: readonly AnswerPiece[]): PartEvent[] {
    return pieces.flatMap((piece) => {
      switch (piece.kind) {
        case "call":
          return this.#begin("call", piece.name);
        case "arguments":
          return this.#add(piece.text);
        default:
          return [...(this.#open?.kind === piece.kind ? [] : this.#begin(piece.kind)), ...this.#add(piece.text)];
      }
    });
  }

  /** An answer without anything is an empty text. */
  finish(): PartEvent[] {
    const begin = this.#parts.length === 0 ? this.#begin("text") : [];
    return [...begin, ...this.#end()];
  }

  #begin(kind: AnswerPart["kind"], name = ""): PartEvent[] {
    const ended = this.#end();
    const part: AnswerPart = { kind, place: this.#parts.length, text: "", name };
    this.#parts.push(part);
    this.#open = part;
    return [...ended, { kind: "begin", part }];
  }

  #add(text: string): PartEvent[] {
    const part = this.#open;
    if (part === undefined || text === "") {
      return [];
    }
    part.text += text;
    return [{ kind: "add", part, text }];
  }

  #end(): PartEvent[] {
    const part = this.#open;
    this.#open = undefined;
    return part === undefined ? [] : [{ kind: "end", part }];
  }
}

/** The parts of an answer that is whole. */
export function partsOf({ thinking, text, calls }: Answer): AnswerPart[] {
  const parts: Omit<AnswerPart, "place">[] = [
    ...(thinking === "" ? [] : [{ kind: "thinking" as const, text: thinking, name: "" }]),
    ...(text === "" && (calls.length > 0 || thinking !== "") ? [] : [{ kind: "text" as const, text, name: "" }]),
    ...calls.map((call) => ({ kind: "call" as const, text: call.arguments, name: call.name })),
  ];
  return parts.map((part, place) => ({ ...part, place }));
}
