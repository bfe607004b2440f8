// Values pushed by callbacks and read by a loop, in order.

export class Channel<T> implements AsyncIterableIterator<T, undefined> {
  readonly #items: T[] = [];
  #end: { error?: unknown } | undefined;
  #wake: () => void = () => {};

  push(item: T): void {
    if (this.#end === undefined) {
      this.#items.push(item);
      this.#wake();
    }
  }

  /** After what was pushed, the loop ends, or fails with `error`. */
  close(end: { error?: unknown } = {}): void {
    this.#end ??= end;
    this.#wake();
  }

  async next(): Promise<IteratorResult<T, undefined>> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        return { done: false, value: item };
      }
      if (this.#end !== undefined) {
        if ("error" in this.#end) {
          throw this.#end.error;
        }
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
