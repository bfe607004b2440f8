// A server of the bundled model, in this process, on a port that the system chooses.

import { type ServeOptions, standardOptions } from "../../src/serve/options.js";
import { type LogEntry, type Server, startServer } from "../../src/serve/server.js";
import { tinyModel } from "./fixtures.js";

export interface TestServer extends AsyncDisposable {
  readonly server: Server;
  readonly url: string;
  readonly log: LogEntry[];
  get(path: string, init?: RequestInit): Promise<Response>;
  /** What a GET's answer holds. */
  read(path: string): Promise<Answer>;
  /** Posts JSON. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  /** The same, as what the answer holds. */
  ask<T = Answer>(path: string, body: unknown, init?: RequestInit): Promise<T>;
  /** The data of a stream's events, without the last "[DONE]". */
  stream<T = Answer>(path: string, body: object, init?: RequestInit): Promise<T[]>;
}

/** Any JSON. */
// biome-ignore lint/suspicious/noExplicitAny: answers are compared with what is expected of them, field by field
type Answer = any;

/** Started and ready. Greedy, unless the request or `options` say otherwise. */
export async function startTestServer(options: Partial<ServeOptions> = {}): Promise<TestServer> {
  const log: LogEntry[] = [];
  const all = { ...standardOptions, modelPath: tinyModel, port: 0, sampling: { temperature: 0 }, ...options };
  const server = await startServer(all, { log: (entry) => log.push(entry) });
  await server.ready;
  const url = `${server.urls[0]}${all.apiPrefix}`;
  const get: TestServer["get"] = (path, init) => fetch(url + path, init);
  const post: TestServer["post"] = (path, body, init = {}) =>
    fetch(url + path, {
      method: "POST",
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...init,
      headers: { "content-type": "application/json", ...init.headers },
    });
  return {
    ...{ server, url, log, get, post },
    read: async (path) => (await get(path)).json(),
    ask: async (path, body, init) => (await post(path, body, init)).json() as never,
    stream: async (path, body, init) => readEvents(await post(path, { stream: true, ...body }, init)) as never,
    [Symbol.asyncDispose]: () => server.close(),
  };
}

/** The error that an answer is. */
export async function readError(response: Response): Promise<Answer> {
  return ((await response.json()) as Answer).error;
}

export async function readEvents(response: Response): Promise<unknown[]> {
  const text = await response.text();
  return text
    .split("\n\n")
    .flatMap((message) => message.split("\n").filter((line) => line.startsWith("data: ")))
    .map((line) => line.slice("data: ".length))
    .filter((data) => data !== "[DONE]")
    .map((data) => JSON.parse(data));
}
