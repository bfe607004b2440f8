// Requests of the server's own process: batches. They run through the same routes as those that come over a connection.

import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import { parseReply } from "../batch/target.js";
import { ApiError } from "./errors.js";
import type { Client } from "./request.js";

export interface InsideRequest {
  method: "GET" | "POST";
  /** Without the prefix of the server's paths. */
  url: string;
  headers?: Readonly<Record<string, string>>;
  body?: unknown;
  /** The client is gone when it fires; then there is no answer. */
  signal?: AbortSignal;
  /** On whose behalf; it is not asked for a key. */
  client?: Client;
}

export interface InsideReply {
  status: number;
  /** Names in small letters. */
  headers: Readonly<Record<string, string | undefined>>;
  /** The value of a JSON answer, else its text. */
  body: unknown;
}

type Expected = Pick<InsideRequest, "client" | "signal">;

const standardClient: Client = { id: "inside", salt: "", weight: 1, scopes: new Set(["chat"]) };

/** A header that tells whose request it is; nobody outside can know its value, which is used once. */
const tokenHeader = "x-bitnet-inside";

/** @internal */
export class Inside {
  readonly #app: FastifyInstance;
  readonly #prefix: string;
  readonly #expected = new Map<string, Expected>();

  /** Before any hook that asks who a client is. */
  constructor(app: FastifyInstance, prefix: string) {
    this.#app = app;
    this.#prefix = prefix;
    app.addHook("onRequest", async (request, reply) => {
      const expected = this.#take(request.headers[tokenHeader]);
      if (expected !== undefined) {
        request.client = expected.client ?? standardClient;
        const leave = () => reply.raw.destroy(new ApiError("server_error", "the request was given up"));
        expected.signal?.addEventListener("abort", leave, { once: true });
        reply.raw.once("close", () => expected.signal?.removeEventListener("abort", leave));
      }
    });
  }

  async handle({ method, url, headers, body, signal, client }: InsideRequest): Promise<InsideReply> {
    signal?.throwIfAborted();
    const token = randomUUID();
    this.#expected.set(token, { client, signal });
    try {
      const reply = await this.#app.inject({
        method,
        url: this.#prefix + url,
        headers: {
          ...headers,
          [tokenHeader]: token,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
      });
      return { status: reply.statusCode, headers: textsOf(reply.headers), body: parseReply(reply.body) };
    } finally {
      this.#expected.delete(token);
    }
  }

  #take(token: string | readonly string[] | undefined): Expected | undefined {
    const expected = typeof token === "string" ? this.#expected.get(token) : undefined;
    if (typeof token === "string") {
      this.#expected.delete(token);
    }
    return expected;
  }
}

function textsOf(headers: Readonly<Record<string, number | string | string[] | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
}
