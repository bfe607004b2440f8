// A health check that computes: ten greedy tokens, at most once in ten seconds.

import type { ServerContext } from "./context.js";
import { toApiError } from "./errors.js";

export interface DeepHealth {
  status: "healthy" | "unhealthy";
  response_time_ms: number;
  tokens_generated: number;
  /** Seconds since 1970. */
  checked_at: number;
  /** The model is out of memory, as nobody has asked for long; it is not woken for this. */
  is_sleeping?: boolean;
  error?: string;
}

const keptMs = 10_000;
const timeout = 30_000; // ms
const prompt = "Hello, this is a test.";

export class HealthCheck {
  readonly #context: ServerContext;
  #last: { startedAt: number; result: Promise<DeepHealth> } | undefined;

  constructor(context: ServerContext) {
    this.#context = context;
  }

  run(): Promise<DeepHealth> {
    const now = performance.now();
    if (this.#last === undefined || now - this.#last.startedAt > keptMs) {
      this.#last = { startedAt: now, result: this.#compute() };
    }
    return this.#last.result;
  }

  async #compute(): Promise<DeepHealth> {
    const startedAt = performance.now();
    let tokens = 0;
    let error: string | undefined;
    try {
      const { service } = this.#context;
      if (service.isSleeping) {
        return { status: "healthy", ...nothingDone(startedAt), is_sleeping: true };
      }
      using lease = await service.borrow();
      const { model } = lease;
      await using session = model.createSession({ contextSize: 64, client: "health" });
      const signal = AbortSignal.timeout(timeout);
      const ids = model.tokenizer.encode(prompt);
      const generation = session.generateTokens(ids, { maxTokens: 10, temperature: 0, ignoreEos: true, signal });
      for await (const _ of generation) {
        tokens++;
      }
    } catch (failure) {
      error = toApiError(failure).message;
    }
    return {
      status: error === undefined ? "healthy" : "unhealthy",
      ...nothingDone(startedAt),
      tokens_generated: tokens,
      ...(error === undefined ? {} : { error }),
    };
  }
}

function nothingDone(startedAt: number): Omit<DeepHealth, "status"> {
  return { response_time_ms: performance.now() - startedAt, tokens_generated: 0, checked_at: Date.now() / 1000 };
}
