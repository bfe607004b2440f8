// Another server that answers the lines of a batch: ours, or any other that speaks OpenAI's protocol.

import { setTimeout as delay } from "node:timers/promises";
import { Agent, request } from "undici";
import { BitnetError, reasonOf, throwIfAborted } from "../system/errors.js";
import { expected, readServerAddress } from "./addresses.js";
import { type BatchCall, type BatchReply, type BatchTarget, parseReply, sendTarget } from "./target.js";

export interface HttpTargetOptions {
  apiKey?: string;
  /** Requests at the same time; undefined: as many as the server says that it runs, else 8. */
  parallel?: number;
  tries?: number;
  signal?: AbortSignal;
  /** Told once if the server is still loading its model. */
  onWait?: () => void;
}

const standardParallel = 8;
const mostParallel = 256;
const mostReplyBytes = 64 * 2 ** 20;
const connectTimeout = 10_000; // ms

/** Waits until the server is ready. Throws USAGE for what is no address, NETWORK if nobody is there. */
export async function httpTarget(url: string, options: HttpTargetOptions = {}): Promise<BatchTarget> {
  const client = new HttpClient(readOrigin(url), options.apiKey);
  await client.waitUntilReady(options);
  const parallel = options.parallel ?? (await client.readParallel());
  return sendTarget({
    ...{ parallel, tries: options.tries, send: (call) => client.send(call), close: () => client.close() },
    ...((await client.readModel()) ?? {}),
  });
}

function readOrigin(text: string): string {
  const origin = readServerAddress(text);
  if (origin === undefined) {
    throw new BitnetError("USAGE", expected.server);
  }
  return origin;
}

class HttpClient {
  readonly #origin: string;
  readonly #headers: Readonly<Record<string, string>>;
  // An answer may take as long as its last token; a server that is gone closes the connection.
  readonly #agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connect: { timeout: connectTimeout } });

  constructor(origin: string, apiKey: string | undefined) {
    this.#origin = origin;
    this.#headers = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  }

  async send({ method, url, headers, body, signal }: BatchCall): Promise<BatchReply> {
    return await this.#ask(method, url, signal, JSON.stringify(body), headers);
  }

  /** A server that has no /health, or another answer there, counts as ready. */
  async waitUntilReady({ signal, onWait }: HttpTargetOptions): Promise<void> {
    for (let asked = 0; ; asked++) {
      const reply = await this.#get("/health", signal);
      if (reply.status !== 503) {
        return;
      }
      if (asked === 0) {
        onWait?.();
      }
      await delay(1000, undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }

  /** llama.cpp's server and ours tell it. */
  async readParallel(): Promise<number> {
    const { body } = await this.#get("/props");
    const slots = (body as { total_slots?: unknown } | null)?.total_slots;
    return typeof slots === "number" && slots >= 1 ? Math.min(Math.floor(slots), mostParallel) : standardParallel;
  }

  /** Only our server names its answers as its list of models does. */
  async readModel(): Promise<{ model: string } | undefined> {
    const { body } = await this.#get("/v1/models");
    const first = (body as { data?: { id?: unknown; owned_by?: unknown }[] } | null)?.data?.[0];
    return first?.owned_by === "bitnet" && typeof first.id === "string" ? { model: first.id } : undefined;
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #get(path: string, signal?: AbortSignal): Promise<BatchReply> {
    return await this.#ask("GET", path, signal);
  }

  async #ask(
    method: "GET" | "POST",
    path: string,
    signal?: AbortSignal,
    text?: string,
    headers: BatchCall["headers"] = {},
  ): Promise<BatchReply> {
    throwIfAborted(signal);
    try {
      const reply = await request(this.#origin + path, {
        ...{ method, signal, dispatcher: this.#agent, body: text },
        headers: {
          ...this.#headers,
          ...headers,
          ...(text === undefined ? {} : { "content-type": "application/json" }),
        },
      });
      const parts: Buffer[] = [];
      let length = 0;
      for await (const part of reply.body as AsyncIterable<Buffer>) {
        length += part.length;
        if (length > mostReplyBytes) {
          throw new Error(`an answer of more than ${mostReplyBytes} bytes`);
        }
        parts.push(part);
      }
      const replyHeaders = Object.entries(reply.headers).map(([name, value]) => [name, String(value)] as const);
      return {
        status: reply.statusCode,
        headers: Object.fromEntries(replyHeaders),
        body: parseReply(Buffer.concat(parts).toString("utf8")),
      };
    } catch (error) {
      throwIfAborted(signal);
      throw new BitnetError("NETWORK", `${this.#origin}: ${describeFailure(error)}`, {
        hint: "see that the server runs; what is answered is kept, so that the same command goes on",
        cause: error,
      });
    }
  }
}

function describeFailure(error: unknown): string {
  const { code } = error as { code?: string };
  return code === "ECONNREFUSED" ? "nobody listens there" : reasonOf(error);
}
