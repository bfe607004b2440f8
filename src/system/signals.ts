// Signals that are joined for a while.

/**
 * Fires when the first of these does, with its reason, until it is disposed. Then nothing of it is left with them:
 * AbortSignal.any() leaves a little with a signal that outlasts it, for as long as that one is there.
 */
export class JoinedSignal implements Disposable {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];
  readonly #onAbort = (event: Event) => this.#abort(event.target as AbortSignal);

  constructor(...signals: readonly (AbortSignal | undefined)[]) {
    this.#sources = signals.filter((signal) => signal !== undefined);
    const fired = this.#sources.find(({ aborted }) => aborted);
    if (fired !== undefined) {
      this.#abort(fired);
      return;
    }
    for (const signal of this.#sources) {
      signal.addEventListener("abort", this.#onAbort);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    for (const signal of this.#sources) {
      signal.removeEventListener("abort", this.#onAbort);
    }
  }

  #abort({ reason }: AbortSignal): void {
    this[Symbol.dispose]();
    this.#controller.abort(reason);
  }
}
