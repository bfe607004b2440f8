// Lines of a stream, one at a time, as long as they come: bounded, whatever is in the stream.

import { StringDecoder } from "node:string_decoder";

export type LineEvent = { kind: "line"; text: string; isTooLong: boolean } | { kind: "end" };

export class LineReader {
  readonly #input: NodeJS.ReadableStream;
  readonly #maxLength: number;
  readonly #decoder = new StringDecoder("utf8");
  readonly #queue: LineEvent[] = [];
  #parts: string[] = []; // of the line that is coming in
  #length = 0;
  #isAfterReturn = false; // a line feed belongs to the line before
  #isEnded = false;
  #wake: (() => void) | undefined;

  /** `maxLength`: code units of a line; what is longer is dropped. */
  constructor(input: NodeJS.ReadableStream, maxLength: number) {
    this.#input = input;
    this.#maxLength = maxLength;
    input.on("data", this.#receive);
    input.on("end", this.#end);
    input.on("error", this.#end);
    input.pause();
  }

  get hasPart(): boolean {
    return this.#length > 0;
  }

  /** The next line, or the end; undefined if `release` came first. */
  async read(): Promise<LineEvent | undefined> {
    if (this.#queue.length === 0 && !this.#isEnded) {
      this.#input.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
      this.#input.pause();
    }
    return this.#queue.shift() ?? (this.#isEnded ? { kind: "end" } : undefined);
  }

  /** Ends a waiting `read`. */
  release(): void {
    this.#wake?.();
  }

  close(): void {
    this.#isEnded = true;
    this.#input.off("data", this.#receive);
    this.#input.pause();
    this.release();
  }

  readonly #receive = (chunk: Buffer | string): void => {
    const text = typeof chunk === "string" ? chunk : this.#decoder.write(chunk);
    const lines = (this.#isAfterReturn ? text.replace(/^\n/, "") : text).split(/\r\n|\n|\r/);
    this.#isAfterReturn = text === "" ? this.#isAfterReturn : text.endsWith("\r");
    for (const [i, line] of lines.entries()) {
      this.#length += line.length;
      if (this.#length <= this.#maxLength) {
        this.#parts.push(line);
      } else {
        this.#parts = [];
      }
      if (i < lines.length - 1) {
        this.#finishLine();
      }
    }
  };

  #finishLine(): void {
    this.#queue.push({ kind: "line", text: this.#parts.join(""), isTooLong: this.#length > this.#maxLength });
    this.#parts = [];
    this.#length = 0;
    this.release();
  }

  readonly #end = (): void => {
    if (this.#isEnded) {
      return;
    }
    this.#receive(this.#decoder.end());
    if (this.#length > 0) {
      this.#finishLine();
    }
    this.#isEnded = true;
    this.release();
  };
}
