// An OpenAI-compatible server on the loopback interface that answers as a test tells it, and a clock that stands until it is
// moved.

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  path: string;
  headers: IncomingMessage["headers"];
  body: {
    model?: string;
    messages?: { role: string; content: string }[];
    prompt?: string;
    max_tokens?: number;
    ignore_eos?: boolean;
    content?: string;
  };
}

/** Writes the answer to a chat or a completion. */
export type Answer = (asked: Asked, response: ServerResponse) => void | Promise<void>;

export function writeEvent(response: ServerResponse, value: object | string): void {
  response.write(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`);
}

export function beginStream(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
}

/** A part of the text of a chat. */
export function textEvent(text: string): object {
  return { choices: [{ index: 0, delta: { content: text }, finish_reason: null }] };
}

export function endStream(response: ServerResponse, completionTokens: number, promptTokens = 10): void {
  writeEvent(response, { choices: [{ index: 0, delta: {}, finish_reason: "length" }] });
  writeEvent(response, {
    choices: [],
    usage: { completion_tokens: completionTokens, prompt_tokens: promptTokens },
  });
  writeEvent(response, "[DONE]");
  response.end();
}

/** As many words as were asked for, at once. */
export const answerAtOnce: Answer = ({ body }, response) => {
  const count = body.max_tokens ?? 1;
  beginStream(response);
  for (let i = 0; i < count; i++) {
    writeEvent(response, textEvent(`word${i} `));
  }
  endStream(response, count);
};

export class FakeOpenAi {
  readonly asked: Asked[] = []; // of chats and completions
  answer: Answer = answerAtOnce;
  /** The keys that /tokenize takes the text under; undefined: there is no /tokenize. */
  tokenizeKey: "content" | "prompt" | undefined = "content";
  tokensPerWord = 1;
  metrics = "process_resident_memory_bytes 104857600\n";
  inFlight = 0;
  mostInFlight = 0;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<FakeOpenAi> {
    const fake = new FakeOpenAi();
    fake.#server.listen(0, "127.0.0.1");
    await once(fake.#server, "listening");
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) {
      pieces.push(piece as Buffer);
    }
    const text = Buffer.concat(pieces).toString();
    const asked: Asked = {
      path: request.url ?? "",
      headers: request.headers,
      body: text === "" ? {} : (JSON.parse(text) as Asked["body"]),
    };
    switch (asked.path) {
      case "/v1/models":
        return void response.end(JSON.stringify({ object: "list", data: [{ id: "fake-model" }, { id: "other" }] }));
      case "/metrics":
        return void response.end(this.metrics);
      case "/tokenize":
        return this.#tokenize(asked, response);
      case "/v1/chat/completions":
      case "/v1/completions":
        return await this.#complete(asked, response);
      default:
        response.writeHead(404).end("not here");
    }
  }

  #tokenize({ body }: Asked, response: ServerResponse): void {
    const given = this.tokenizeKey === undefined ? undefined : body[this.tokenizeKey];
    if (given === undefined) {
      response.writeHead(404).end("{}");
      return;
    }
    const count = given.split(" ").length * this.tokensPerWord;
    response.end(JSON.stringify({ tokens: Array.from({ length: count }, (_, i) => i) }));
  }

  async #complete(asked: Asked, response: ServerResponse): Promise<void> {
    this.asked.push(asked);
    this.inFlight++;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    response.on("close", () => {
      this.inFlight--;
    });
    await this.answer(asked, response);
  }
}

export class FakeClock {
  #time = 0;
  #reads: (() => void)[] = [];
  #sleepers = new Set<{ until: number; wake: () => void }>();

  now(): number {
    const waiting = this.#reads;
    this.#reads = [];
    for (const tell of waiting) {
      tell();
    }
    return this.#time;
  }

  /** The next time that somebody looks at the clock. */
  nextRead(): Promise<void> {
    return new Promise((resolve) => this.#reads.push(resolve));
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const sleeper = { until: this.#time + ms, wake: resolve };
      if (ms <= 0 || signal.aborted) {
        resolve();
        return;
      }
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        resolve();
      });
    });
  }

  advance(ms: number): void {
    this.#time += ms;
    for (const sleeper of this.#sleepers) {
      if (sleeper.until <= this.#time) {
        this.#sleepers.delete(sleeper);
        sleeper.wake();
      }
    }
  }
}
