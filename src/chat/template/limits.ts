// What a template may cost. Templates come inside model files from anywhere; an endless one must end, on any machine at
// the same place: work is counted, not timed.

/** A template that cannot be read, that fails, or that asks for what is not supported. Its message is one line. */
export class TemplateError extends Error {}

/** A template that costs too much. */
export class LimitError extends TemplateError {}

/** What a template itself refuses, in its own words. */
export class RaisedError extends TemplateError {}

/** What Jinja2 can do and this interpreter cannot: an error, never another result. */
export function unsupported(what: string): TemplateError {
  return new TemplateError(`${what} is not supported`);
}

// A step is one node evaluated, one item of a list or 32 characters of a text; a million take about a quarter of a
// second. A chat of a hundred messages takes some ten thousand. What a template has to write is given: both grow with it.
const baseSteps = 1_000_000;
const stepsPerMessage = 2_000;
const charactersPerStep = 32;
const baseCharacters = 1 << 22;
const charactersPerCharacter = 8;
// Of nested expressions, statements and calls: far from the end of the stack, which has room for some thousands.
const maxDepth = 400;

export class Budget {
  #steps: number;
  #depth = 0;
  readonly #maxCharacters: number;

  /** `characters`: of all messages together. */
  constructor(messages = 0, characters = 0) {
    this.#steps = baseSteps + stepsPerMessage * messages + characters;
    this.#maxCharacters = baseCharacters + charactersPerCharacter * characters;
  }

  /** Pays for work. */
  step(count = 1): void {
    this.#steps -= count;
    if (this.#steps < 0) {
      throw new LimitError("takes too long");
    }
  }

  /** Pays for reading or writing a text of this length, before it is done. */
  text(length: number): void {
    this.size(length);
    this.step(length / charactersPerStep);
  }

  /** Refuses a text of this length if none may be as long. */
  size(length: number): void {
    if (!(length <= this.#maxCharacters)) {
      throw new LimitError("writes too much");
    }
  }

  /** Begins something nested; `leave` ends it. */
  enter(): void {
    this.#depth++;
    if (this.#depth > maxDepth) {
      throw new TemplateError(`nested more than ${maxDepth} levels deep`);
    }
  }

  leave(): void {
    this.#depth--;
  }
}
