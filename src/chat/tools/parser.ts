// From the text of an answer as it comes to its parts: thinking, text, calls of tools.

import { ThinkingSplitter, type ThinkingTags } from "../thinking.js";
import { JsonReader, type Steps } from "./json-reader.js";
import { type CallSyntax, genericKeys, type ResponseKind, type TaggedSyntax } from "./syntax.js";

/** A stretch of an answer; its text is never empty. */
export type AnswerPiece =
  | { kind: "text" | "thinking"; text: string }
  /** A call begins. Its arguments follow, before any other piece. */
  | { kind: "call"; index: number; name: string }
  /** Joined, those of an index are the JSON of the arguments. */
  | { kind: "arguments"; index: number; text: string };

export interface AnswerCall {
  name: string;
  /** JSON; its beginning if the answer was cut. */
  arguments: string;
  /** Was the call read to its end? */
  isWhole: boolean;
}

/** However the text is cut, the pieces joined are the same. */
export class AnswerParser {
  readonly #splitter: ThinkingSplitter;
  readonly #reader: AnswerReader;
  readonly #said = { text: "", thinking: "" };
  readonly #calls: AnswerCall[] = [];

  /** `thinking`: undefined where the answer has none; `isThinking`: the prompt has written the opening tag already. */
  constructor(reader: AnswerReader, thinking: ThinkingTags | undefined, isThinking: boolean) {
    this.#splitter = new ThinkingSplitter(thinking, isThinking);
    this.#reader = reader;
  }

  /** The pieces that are certain with this text. */
  push(text: string): AnswerPiece[] {
    return this.#collect(this.#splitter.push(text));
  }

  /** The rest of an answer that has come to its end. */
  finish(): AnswerPiece[] {
    const pieces = this.#collect(this.#splitter.finish());
    return [...pieces, ...this.#keep(this.#reader.finish())];
  }

  /** All text so far. */
  get text(): string {
    return this.#said.text;
  }

  /** All thinking so far. */
  get thinking(): string {
    return this.#said.thinking;
  }

  /** All calls so far. */
  get calls(): readonly AnswerCall[] {
    return this.#calls;
  }

  /** Does nothing of the answer's form lack? Not so while a call is open, as in an answer that was cut. */
  get isComplete(): boolean {
    return this.#reader.isComplete;
  }

  #collect(stretches: readonly { kind: "text" | "thinking"; text: string }[]): AnswerPiece[] {
    return stretches.flatMap((piece) =>
      this.#keep(piece.kind === "thinking" ? [piece] : this.#reader.push(piece.text)),
    );
  }

  #keep(pieces: AnswerPiece[]): AnswerPiece[] {
    for (const piece of pieces) {
      if (piece.kind === "call") {
        this.#calls.push({ name: piece.name, arguments: "", isWhole: false });
      } else if (piece.kind === "arguments") {
        const call = this.#calls[piece.index];
        if (call !== undefined) {
          call.arguments += piece.text;
        }
      } else {
        this.#said[piece.kind] += piece.text;
      }
    }
    for (const call of this.#calls.slice(0, this.#reader.wholeCalls)) {
      call.isWhole = true;
    }
    return pieces;
  }
}

const callStart = /^[ \t\r\n]*\{[ \t\r\n]*"name"/;
const callBeginning = /^[ \t\r\n]*(\{[ \t\r\n]*("(n(a(m(e"?)?)?)?)?)?)?$/;

/** Reads what follows the thinking, character by character: a form of the language as a coroutine. */
export class AnswerReader {
  readonly #json = new JsonReader();
  readonly #steps: Steps;
  readonly #response: ResponseKind;
  #pieces: AnswerPiece[] = [];
  #held = ""; // text that may be the beginning of a call
  #count = 0; // of calls
  #whole = 0; // of these
  #isOpen: boolean; // a call, or what is around it

  /** `syntax`: undefined for answers without calls; `begun`: what the prompt has of the answer, which is not said again. */
  constructor(syntax: CallSyntax | undefined, response: ResponseKind, begun: string) {
    this.#response = response;
    this.#isOpen = syntax?.kind === "generic";
    this.#steps = this.#read(syntax);
    this.#steps.next();
    this.push(begun);
  }

  get isComplete(): boolean {
    return !this.#isOpen;
  }

  get wholeCalls(): number {
    return this.#whole;
  }

  push(text: string): AnswerPiece[] {
    for (let i = 0; i < text.length; i++) {
      this.#steps.next(text.charAt(i));
    }
    return this.#take();
  }

  finish(): AnswerPiece[] {
    this.#say(this.#held);
    this.#held = "";
    return this.#take();
  }

  #take(): AnswerPiece[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  #say(text: string): void {
    const last = this.#pieces.at(-1);
    if (last?.kind === "text") {
      last.text += text;
    } else if (text !== "") {
      this.#pieces.push({ kind: "text", text });
    }
  }

  #sayArguments(text: string): void {
    const index = this.#count - 1;
    const last = this.#pieces.at(-1);
    if (last?.kind === "arguments" && last.index === index) {
      last.text += text;
    } else {
      this.#pieces.push({ kind: "arguments", index, text });
    }
  }

  *#read(syntax: CallSyntax | undefined): Steps {
    switch (syntax?.kind) {
      case "tagged":
        yield* this.#readTagged(syntax);
        break;
      case "bare":
        yield* this.#readBare(syntax.argumentsKey);
        break;
      case "generic":
        yield* this.#readGeneric(syntax.argumentsKey);
        break;
      case undefined:
        yield* this.#readText();
        break;
    }
    for (;;) {
      yield; // the answer is whole
    }
  }

  *#readText(): Steps {
    for (;;) {
      this.#say(yield* this.#json.next());
    }
  }

  *#readTagged(syntax: TaggedSyntax): Steps {
    if (!(yield* this.#readTextTo(syntax.open))) {
      yield* this.#readText();
    }
    this.#isOpen = true;
    yield* this.#readCalls(syntax.argumentsKey, syntax.close === "" && syntax.isList ? "]" : syntax.close);
  }

  /** Text up to a tag, without the white space before that. False: there will be none. */
  *#readTextTo(open: string): Generator<undefined, boolean, string> {
    for (;;) {
      this.#held += yield* this.#json.next();
      if (this.#held.endsWith(open)) {
        this.#say(this.#held.slice(0, -open.length).trimEnd());
        this.#held = "";
        return true;
      }
      const certain = this.#held.slice(0, this.#held.length - beginningLength(this.#held, open)).trimEnd();
      // Where a schema or grammar holds the text, it may say anything.
      const isOther = this.#response === "held" && certain !== "";
      this.#say(isOther ? this.#held : certain);
      this.#held = isOther ? "" : this.#held.slice(certain.length);
      if (isOther) {
        return false;
      }
    }
  }

  *#readBare(argumentsKey: string): Steps {
    while (callBeginning.test(this.#held)) {
      this.#held += yield* this.#json.next();
      if (callStart.test(this.#held)) {
        this.#json.unread(this.#held);
        this.#held = "";
        this.#isOpen = true;
        yield* this.#readCalls(argumentsKey, "");
      }
    }
    this.#say(this.#held);
    this.#held = "";
    yield* this.#readText();
  }

  *#readGeneric(argumentsKey: string): Steps {
    yield* this.#json.skipPast("{");
    const key = yield* this.#json.readKey();
    if (key !== genericKeys.response) {
      yield* this.#readCalls(argumentsKey, key === genericKeys.calls ? "]}" : "}");
      return;
    }
    if (this.#response === "text") {
      yield* this.#json.readString((text) => this.#say(text));
      yield* this.#json.skipPast("}");
      this.#isOpen = false;
      return;
    }
    yield* this.#json.skipPast(" ");
    yield* this.#readHeld();
  }

  /** What a grammar holds may be anything: only the last brace of all is not part of it. */
  *#readHeld(): Steps {
    for (;;) {
      const next = yield* this.#json.next();
      this.#say((this.#isOpen ? "" : "}") + (next === "}" ? "" : next));
      this.#isOpen = next !== "}";
    }
  }

  /** Objects of calls, whatever is between them. What follows the last one must hold `end`, but for white space. */
  *#readCalls(argumentsKey: string, end: string): Steps {
    let between = "";
    for (;;) {
      const next = yield* this.#json.next();
      between += next.trim();
      if (next === "{") {
        this.#isOpen = true;
        yield* this.#readCall(argumentsKey);
        this.#whole = this.#count;
        between = "";
      }
      // An end that is empty has come with the call.
      this.#isOpen = !(this.#count > 0 && between.includes(end));
    }
  }

  /** After the brace. */
  *#readCall(argumentsKey: string): Steps {
    for (;;) {
      const key = yield* this.#json.readKey();
      if (key === "name") {
        let name = "";
        yield* this.#json.readString((text) => {
          name += text;
        });
        this.#pieces.push({ kind: "call", index: this.#count++, name });
      } else {
        yield* this.#json.readValue(key === argumentsKey ? (text) => this.#sayArguments(text) : () => {});
      }
      if ((yield* this.#json.readEnd()) === "}") {
        return;
      }
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
