// What generating hands out: pieces to iterate over and a result to wait for, in any order and together.

import { BitnetError } from "../system/errors.js";

/**
 * A stream of pieces with a result at its end. Nothing is computed until the first piece or the result is asked for.
 * Leaving a loop over the pieces ends the work.
 */
export class Generation<Item, Result> implements AsyncGenerator<Item, Result, undefined> {
  readonly #source: AsyncGenerator<Item, Result, undefined>;
  readonly #resultWhenLeft: (() => Result) | undefined;
  // Pieces that `result` has asked for and the loop has not.
  readonly #ahead: Promise<IteratorResult<Item, Result>>[] = [];
  readonly #result: Promise<Result>;
  #resolve: (result: Result) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #isDraining = false;

  /** `resultWhenLeft`: the result of a generation whose loop was left early. Default: it rejects with ABORTED. */
  constructor(source: AsyncGenerator<Item, Result, undefined>, resultWhenLeft?: () => Result) {
    this.#source = source;
    this.#resultWhenLeft = resultWhenLeft;
    this.#result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#result.catch(() => {}); // who only loops sees the error there
  }

  /** Runs to the end, whether or not somebody reads the pieces; they stay there to be read. Rejects as the loop throws. */
  get result(): Promise<Result> {
    if (!this.#isDraining) {
      this.#isDraining = true;
      this.#drain();
    }
    return this.#result;
  }

  next(): Promise<IteratorResult<Item, Result>> {
    return this.#ahead.shift() ?? this.#pull();
  }

  async return(value?: Result | PromiseLike<Result>): Promise<IteratorResult<Item, Result>> {
    const left = await this.#source.return(value as Result);
    this.#ahead.length = 0;
    if (this.#resultWhenLeft === undefined) {
      this.#reject(new BitnetError("ABORTED", "the loop over the pieces was left before the end"));
    } else {
      this.#resolve(this.#resultWhenLeft());
    }
    return left;
  }

  async throw(error: unknown): Promise<IteratorResult<Item, Result>> {
    this.#reject(error);
    return await this.#source.throw(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the work, if it is not at its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #pull(): Promise<IteratorResult<Item, Result>> {
    try {
      const next = await this.#source.next();
      if (next.done) {
        this.#resolve(next.value);
      }
      return next;
    } catch (error) {
      this.#reject(error);
      throw error;
    }
  }

  async #drain(): Promise<void> {
    try {
      for (;;) {
        const next = this.#pull();
        this.#ahead.push(next);
        if ((await next).done) {
          return;
        }
      }
    } catch {
      // #result and whoever reads the pieces have it
    }
  }
}
