// Vectors as llama-embedding prints them, character for character.

import { cosine } from "../embed/vectors.js";

export const llamaFormats = ["", "array", "json", "json+", "raw"] as const;
export type LlamaFormat = (typeof llamaFormats)[number];

export interface LlamaForm {
  /** Normalized to whole numbers (--embd-normalize 0), or codes. */
  isWhole: boolean;
  /** A vector for each token. */
  ofTokens: boolean;
}

/** Gets one vector after the other; those of a few texts are kept, for how alike they are. */
export interface VectorPrinter {
  begin(): string;
  add(vector: ArrayLike<number>, text: string): string;
  end(): string;
}

export function createPrinter(format: LlamaFormat, form: LlamaForm): VectorPrinter {
  switch (format) {
    case "":
      return new TextPrinter(form);
    case "raw":
      return { begin: () => "", add: (vector) => `${joinNumbers(vector, " ", form)}\n`, end: () => "" };
    case "array":
      return new ListPrinter(form, "[", (list) => `[${list}]`, ",", "]\n");
    case "json":
    case "json+":
      return new JsonPrinter(form, format === "json+");
  }
}

function joinNumbers(vector: ArrayLike<number>, between: string, { isWhole }: LlamaForm): string {
  return Array.from(vector, (x) => (isWhole ? formatWhole(x) : formatFixed(x, 7))).join(between);
}

/** printf's %.nf, which keeps the sign of zero. */
function formatFixed(x: number, digits: number): string {
  return Object.is(x, -0) ? `-${(0).toFixed(digits)}` : x.toFixed(digits);
}

/** printf's %.0f, which rounds halves to even numbers. */
function formatWhole(x: number): string {
  const isHalf = Math.abs(x % 1) === 0.5;
  return formatFixed(isHalf ? 2 * Math.round(x / 2) : x, 0);
}

class ListPrinter implements VectorPrinter {
  readonly #form: LlamaForm;
  readonly #first: string;
  readonly #item: (list: string, index: number) => string;
  readonly #between: string;
  readonly #last: string;
  #count = 0;

  constructor(
    form: LlamaForm,
    first: string,
    item: (list: string, index: number) => string,
    between: string,
    last: string,
  ) {
    this.#form = form;
    this.#first = first;
    this.#item = item;
    this.#between = between;
    this.#last = last;
  }

  begin(): string {
    return this.#first;
  }

  add(vector: ArrayLike<number>, _text: string): string {
    const item = this.#item(joinNumbers(vector, ",", this.#form), this.#count);
    return this.#count++ === 0 ? item : this.#between + item;
  }

  end(): string {
    return this.#last;
  }
}

class JsonPrinter extends ListPrinter {
  readonly #kept: ArrayLike<number>[] | undefined;

  constructor(form: LlamaForm, withCosines: boolean) {
    const item = (list: string, index: number) =>
      `    {\n      "object": "embedding",\n      "index": ${index},\n      "embedding": [${list}]\n    }`;
    super(form, '{\n  "object": "list",\n  "data": [\n', item, ",\n", "\n  ]");
    this.#kept = withCosines ? [] : undefined;
  }

  override add(vector: ArrayLike<number>, text: string): string {
    this.#kept?.push(vector);
    return super.add(vector, text);
  }

  override end(): string {
    const kept = this.#kept ?? [];
    const lines = kept.map((a) => `    [${kept.map((b) => fixedWidth(similarity(a, b), 6, 2)).join(", ")} ]`);
    const cosines = kept.length > 1 ? `,\n  "cosineSimilarity": [\n${lines.join(",\n")}\n  ]` : "";
    return `${super.end()}${cosines}\n}\n`;
  }
}

function similarity(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return cosine(Array.from(a), Array.from(b));
}

function fixedWidth(x: number, width: number, digits: number): string {
  return formatFixed(x, digits).padStart(width);
}

const numbersBesideOthers = 16;
const numbersOfTokens = 3;

/** Many vectors are told by their beginnings, and by how alike they are. */
class TextPrinter implements VectorPrinter {
  readonly #form: LlamaForm;
  readonly #kept: { vector: ArrayLike<number>; text: string }[] = [];

  constructor(form: LlamaForm) {
    this.#form = form;
  }

  begin(): string {
    return "";
  }

  add(vector: ArrayLike<number>, text: string): string {
    this.#kept.push({ vector, text });
    return "";
  }

  end(): string {
    const kept = this.#kept;
    const lines = kept.map(({ vector }, i) => `embedding ${i}: ${this.#numbers(vector)}\n`).join("");
    return kept.length > 1 && !this.#form.ofTokens ? lines + this.#matrix() : lines;
  }

  #numbers(vector: ArrayLike<number>): string {
    const all = Array.from(vector, (x) => `${this.#form.isWhole ? formatWhole(x).padStart(6) : fixedWidth(x, 9, 6)} `);
    if (this.#form.ofTokens) {
      return `${all.slice(0, numbersOfTokens).join("")} ... ${all.slice(-numbersOfTokens).join("")}`;
    }
    return all.slice(0, this.#kept.length > 1 ? numbersBesideOthers : all.length).join("");
  }

  #matrix(): string {
    const kept = this.#kept;
    const head = kept.map(({ text }) => `${beginningOf(text, 6).padStart(6)} `).join("");
    const rows = kept.map(({ vector, text }) => {
      const cosines = kept.map((other) => `${fixedWidth(similarity(vector, other.vector), 6, 2)} `).join("");
      return `${cosines}${beginningOf(text, 10)}\n`;
    });
    return `\ncosine similarity matrix:\n\n${head}\n${rows.join("")}`;
  }
}

/** llama-embedding counts bytes; here no character is cut. */
function beginningOf(text: string, length: number): string {
  return [...text].slice(0, length).join("");
}
