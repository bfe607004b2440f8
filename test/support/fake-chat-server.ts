// The part of the server's interface that the web page uses, with answers and faults on demand, and the page itself
// under a content security policy that is at least as strict as the server's own.

import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { root } from "./fixtures.js";

/** How one request for a chat completion is answered; used up in order. Without any, the question is repeated. */
export interface FakeAnswer {
  text?: string;
  thinking?: string;
  /** Instead of a stream: an error with this status. */
  status?: number;
  code?: string;
  message?: string;
  /** The stream waits here until `release()`: before the answer, or after this many pieces of it. */
  holdAfter?: number;
  /** The connection is cut after this many pieces. */
  cutAfter?: number;
  /** After this many pieces an error event comes instead of the rest. */
  errorAfter?: number;
  /** Tokens of the prompt that are reported as read before the answer. */
  progress?: { processed: number; total: number };
  finish?: string;
}

export interface FakeMetrics {
  generatedTokens: number;
  running: number;
}

const types: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

export const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

export class FakeChatServer {
  readonly answers: FakeAnswer[] = [];
  /** Bodies of the requests for completions. */
  readonly requests: Record<string, unknown>[] = [];
  /** The path of every request, the page's files included. */
  readonly paths: string[] = [];
  /** Only requests with this key are answered. */
  key: string | undefined;
  /** A key beside it that may only chat. */
  chatKey: string | undefined;
  /** No connection is answered. */
  isAway = false;
  metrics: FakeMetrics = { generatedTokens: 1000, running: 1 };
  alerts: unknown[] = [];
  /** Streams whose clients left before their end. */
  left = 0;

  private readonly server: Server;
  private waiting: (() => void)[] = [];

  private constructor(server: Server) {
    this.server = server;
  }

  static async start(): Promise<FakeChatServer> {
    const server = createServer();
    const fake = new FakeChatServer(server);
    server.on("request", (request, response) => void fake.handle(request, response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  async stop(): Promise<void> {
    this.release();
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  /** Lets every stream that waits go on. */
  release(): void {
    for (const go of this.waiting.splice(0)) {
      go();
    }
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? "/", this.url).pathname;
    this.paths.push(path);
    if (this.isAway) {
      request.socket.destroy();
      return;
    }
    if (request.method === "GET" && this.sendFile(path, response)) {
      return;
    }
    const { authorization } = request.headers;
    if (this.chatKey !== undefined && authorization === `Bearer ${this.chatKey}`) {
      if (path === "/metrics" || path === "/admin/alerts") {
        const message = "this needs the scope metrics, which the key or address does not have";
        sendJson(response, 403, { error: { message, type: "permission_error", code: "forbidden" } });
        return;
      }
    } else if (this.key !== undefined && path !== "/v1/models" && authorization !== `Bearer ${this.key}`) {
      sendJson(response, 401, {
        error: { message: "Invalid API key", type: "authentication_error", code: "invalid_api_key" },
      });
      return;
    }
    switch (path) {
      case "/v1/models":
        sendJson(response, 200, {
          object: "list",
          data: [{ id: "tiny-bitnet", object: "model", max_model_len: 2048 }],
        });
        break;
      case "/props":
        sendJson(response, 200, {
          default_generation_settings: {
            n_ctx: 2048,
            params: { temperature: 0.800000011920929, top_p: 0.95, top_k: 40, min_p: 0.05, repeat_penalty: 1 },
          },
        });
        break;
      case "/metrics":
        response.setHeader("content-type", "text/plain; version=0.0.4");
        response.end(this.metricsText());
        break;
      case "/admin/alerts":
        sendJson(response, 200, { alerts: this.alerts });
        break;
      case "/v1/chat/completions":
        await this.complete(await readJson(request), response);
        break;
      default:
        sendJson(response, 404, { error: { message: "Not found", type: "not_found_error" } });
    }
  }

  private sendFile(path: string, response: ServerResponse): boolean {
    const file = join(root, "dist/ui", path === "/" ? "index.html" : path);
    const type = types[extname(file)];
    if (path.includes("..") || type === undefined || !existsSync(file)) {
      return false;
    }
    response.writeHead(200, {
      "content-type": type,
      "content-security-policy": contentSecurityPolicy,
      "x-content-type-options": "nosniff",
      "cache-control": "no-cache",
    });
    response.end(readFileSync(file));
    return true;
  }

  private metricsText(): string {
    this.metrics.generatedTokens += 80;
    return [
      "# HELP vllm:generation_tokens_total Tokens generated.",
      "# TYPE vllm:generation_tokens_total counter",
      `vllm:generation_tokens_total{model_name="tiny-bitnet"} ${this.metrics.generatedTokens}`,
      `vllm:num_requests_running{model_name="tiny-bitnet"} ${this.metrics.running}`,
      'vllm:num_requests_waiting{model_name="tiny-bitnet"} 0',
      'vllm:kv_cache_usage_perc{model_name="tiny-bitnet"} 0.25',
      "process_resident_memory_bytes 1.5e8",
      "process_cpu_seconds_total 12.5",
      "",
    ].join("\n");
  }

  private async complete(body: Record<string, unknown>, response: ServerResponse): Promise<void> {
    this.requests.push(body);
    const answer = this.answers.shift() ?? { text: `You said: ${lastText(body)}` };
    if (answer.status !== undefined) {
      sendJson(response, answer.status, { error: { message: answer.message ?? "It went wrong", code: answer.code } });
      return;
    }
    let isOpen = true;
    response.on("close", () => {
      isOpen = false;
      this.left += response.writableFinished ? 0 : 1;
    });
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
    const send = (event: unknown) => isOpen && response.write(`data: ${JSON.stringify(event)}\n\n`);
    const choose = (choice: object, more: object = {}) =>
      send({ model: "tiny-bitnet", choices: [{ index: 0, ...choice }], ...more });
    choose({ delta: { role: "assistant", content: null } });
    if (answer.progress !== undefined) {
      send({ choices: [], prompt_progress: { ...answer.progress, cache: 0, time_ms: 1 } });
    }
    const text = answer.text ?? "";
    const pieces = [
      ...piecesOf(answer.thinking ?? "").map((piece) => ({ reasoning_content: piece })),
      ...piecesOf(text).map((content) => ({ content })),
    ];
    for (const [i, delta] of pieces.entries()) {
      await this.holdAt(i, answer.holdAfter);
      if (i === answer.cutAfter) {
        response.destroy();
        return;
      }
      if (i === answer.errorAfter) {
        send({ error: { message: answer.message ?? "The model failed", type: "server_error", code: 500 } });
        response.end("data: [DONE]\n\n");
        return;
      }
      const scores = "content" in delta && body.logprobs === true ? { logprobs: logprobsOf(delta.content) } : {};
      choose({ delta, ...scores }, { timings: { predicted_n: i + 1, predicted_per_second: 40 } });
      await drained(response);
    }
    await this.holdAt(pieces.length, answer.holdAfter);
    choose({ delta: {}, finish_reason: answer.finish ?? "stop" });
    send({
      choices: [],
      usage: { prompt_tokens: 24, completion_tokens: pieces.length, total_tokens: 24 + pieces.length },
      timings: { predicted_per_second: 41.5 },
    });
    response.end("data: [DONE]\n\n");
  }

  private async holdAt(piece: number, holdAfter: number | undefined): Promise<void> {
    if (piece === holdAfter) {
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }
}

/** Words with the space before them, as tokens are. */
function piecesOf(text: string): string[] {
  return text.match(/\s*\S+|\s+$/g) ?? [];
}

function logprobsOf(token: string) {
  const other = { token: " other", logprob: Math.log(0.25), bytes: [...Buffer.from(" other")] };
  const entry = { token, logprob: Math.log(0.5), bytes: [...Buffer.from(token)] };
  return { content: [{ ...entry, top_logprobs: [entry, other] }] };
}

function lastText(body: Record<string, unknown>): string {
  const messages = Array.isArray(body.messages) ? body.messages : [];
  return String(messages.at(-1)?.content ?? "");
}

/** What was written is on its way as a piece of its own. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) =>
    setImmediate(() => (response.writableNeedDrain ? response.once("drain", resolve) : resolve())),
  );
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}
