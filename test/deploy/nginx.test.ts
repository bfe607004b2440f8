// The configurations of nginx, on a machine and in a container, in an nginx that runs, between a client and a server of the
// test on Unix sockets.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root } from "../support/fixtures.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const nginx = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].find(existsSync);
type Serve = (request: IncomingMessage, response: ServerResponse) => void;

const files = ["nginx/bitnet.conf", "docker/nginx.conf"] as const;

/** One that runs with one of the files, in front of the socket `upstream`. */
class Nginx implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "nginx-")); // short: paths of sockets have 107 bytes at most
  readonly socket = join(this.folder, "front");
  #process?: ChildProcess;

  static async start(file: (typeof files)[number], upstream: string): Promise<Nginx> {
    const proxy = new Nginx();
    const { folder } = proxy;
    const main = join(folder, "nginx.conf");
    cpSync(join(root, "deploy", "nginx", "snippets"), join(folder, "snippets"), { recursive: true });
    const text = readFileSync(join(root, "deploy", file), "utf8");
    const ours = file === "nginx/bitnet.conf" ? proxy.#include(text, upstream) : proxy.#move(text, upstream);
    expect(ours).toContain(`listen unix:${proxy.socket};`);
    expect(ours).toContain(`server unix:${upstream} `);
    writeFileSync(main, `daemon off;\nmaster_process off;\n${ours}`);
    const args = ["-p", folder, "-c", main, "-e", join(folder, "error.log")];
    const { status, stderr } = spawnSync(nginx ?? "", ["-t", ...args], { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringContaining("[warn]") });
    const child = spawn(nginx ?? "", args, { stdio: "ignore" });
    proxy.#process = child;
    while (!(await proxy.#isOpen())) {
      expect(child.exitCode).toBeNull();
      await new Promise(setImmediate);
    }
    return proxy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process?.exitCode === null) {
      const ended = once(this.#process, "close");
      this.#process.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true });
  }

  /** The file within the least that nginx needs around it, with the sockets of the test. */
  #include(text: string, upstream: string): string {
    const ours = text
      .replace("listen 80;", `listen unix:${this.socket};`)
      .replace("127.0.0.1:8080", `unix:${upstream}`);
    const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      (name) => `${name}_temp_path ${join(this.folder, name)};`,
    );
    return `pid ${join(this.folder, "pid")};
events {}
http {
  access_log off;
  ${folders.join("\n  ")}
${ours}}
`;
  }

  /** A whole configuration, with the sockets and the folder of the test; older ones cannot follow names that change. */
  #move(text: string, upstream: string): string {
    return text
      .replaceAll("/tmp/", `${this.folder}/`)
      .replace("listen 8080;", `listen unix:${this.socket};`)
      .replace("server server:8080 max_fails=0 resolve;", `server unix:${upstream} max_fails=0;`)
      .replace("/dev/stdout", join(this.folder, "access.log"))
      .replace("error_log stderr;\n", "");
  }

  async #isOpen(): Promise<boolean> {
    const asked = request({ socketPath: this.socket, path: "/metrics" }).end();
    return await new Promise((resolve) => {
      asked.on("error", () => resolve(false));
      asked.on("response", (answer) => {
        answer.resume();
        answer.on("end", () => resolve(true));
      });
    });
  }

  /** Sends a request; its answer, once its headers are there. */
  async ask(
    path: string,
    body: string | undefined,
    headers: Record<string, string> = {},
  ): Promise<{ asked: ClientRequest; answer: IncomingMessage }> {
    const method = body === undefined ? "GET" : "POST";
    const asked = request({ socketPath: this.socket, path, method, headers, agent: false });
    asked.end(body);
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    return { asked, answer };
  }
}

async function textOf(answer: IncomingMessage): Promise<string> {
  let text = "";
  for await (const piece of answer.setEncoding("utf8")) {
    text += piece;
  }
  return text;
}

describe.skipIf(nginx === undefined).each(files)("nginx with deploy/%s", (file) => {
  const folder = mkdtempSync(join(tmpdir(), "nginx-back-"));
  let serve: Serve = (_, response) => void response.end();
  let server: Server;
  let proxy: Nginx;
  let connections = 0;

  beforeAll(async () => {
    server = createServer((incoming, response) => serve(incoming, response));
    server.on("connection", () => connections++);
    server.listen(join(folder, "back"));
    await once(server, "listening");
    proxy = await Nginx.start(file, join(folder, "back"));
  });

  afterAll(async () => {
    await proxy[Symbol.asyncDispose]();
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  });

  test("passes every event on as it comes: the next one is sent when the last one was seen", async () => {
    let seen = () => {};
    serve = async (_, response) => {
      response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
      for (let i = 0; i < 10; i++) {
        const isSeen = new Promise<void>((resolve) => {
          seen = resolve;
        });
        response.write(`data: ${i}\n\n`);
        await isSeen;
      }
      response.end();
    };
    const { answer } = await proxy.ask("/v1/chat/completions", "{}");
    const pieces: string[] = [];
    for await (const piece of answer.setEncoding("utf8")) {
      pieces.push(piece as string);
      seen();
    }
    expect(pieces).toEqual(Array.from({ length: 10 }, (_, i) => `data: ${i}\n\n`));
    // Chunks of HTTP/1.1 would pass with buffers, too; but then nginx would keep for a slow reader what the server bounds.
    expect(readFileSync(join(root, "deploy", "nginx", "snippets", "bitnet.conf"), "utf8")).toContain(
      "proxy_buffering off;",
    );
  });

  test.each(["before the first event", "between events"])("tells the server when a client leaves %s", async (when) => {
    let left = () => {};
    const hasLeft = new Promise<void>((resolve) => {
      left = resolve;
    });
    let came = () => {};
    const hasCome = new Promise<void>((resolve) => {
      came = resolve;
    });
    serve = (_, response) => {
      response.on("close", left);
      if (when === "between events") {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write("data: 0\n\n");
      }
      came();
    };
    const asked = request({ socketPath: proxy.socket, path: "/v1/chat/completions", method: "POST", agent: false });
    asked.on("error", () => {});
    asked.end("{}");
    if (when === "between events") {
      const [answer] = (await once(asked, "response")) as [IncomingMessage];
      answer.on("error", () => {});
      await once(answer, "data");
    }
    await hasCome;
    asked.destroy();
    await hasLeft;
  });

  test("keeps connections to the server, and says who asks", async () => {
    const headers: IncomingMessage["headers"][] = [];
    serve = (incoming, response) => {
      headers.push(incoming.headers);
      response.end("{}");
    };
    await textOf((await proxy.ask("/v1/models", undefined)).answer);
    const before = connections;
    for (let i = 0; i < 3; i++) {
      await textOf((await proxy.ask("/v1/models", undefined, { host: "chat.example.org" })).answer);
    }
    expect(connections).toBe(before);
    expect(headers.at(-1)).toMatchObject({ host: "chat.example.org", "x-forwarded-proto": "http" });
    expect(headers.at(-1)).toHaveProperty("x-forwarded-for");
  });

  test("passes statuses, headers of errors and large bodies of files, and bounds others", async () => {
    serve = async (incoming, response) => {
      let size = 0;
      for await (const piece of incoming) {
        size += (piece as Buffer).length;
      }
      response.writeHead(429, { "retry-after": "7", "x-request-id": "abc" });
      response.end(String(size));
    };
    const { answer } = await proxy.ask("/v1/chat/completions", "{}");
    expect(answer.statusCode).toBe(429);
    expect(answer.headers).toMatchObject({ "retry-after": "7", "x-request-id": "abc" });
    const large = "x".repeat(9 << 20);
    expect(await textOf((await proxy.ask("/v1/files", large)).answer)).toBe(String(large.length));
    const refused = await proxy.ask("/v1/chat/completions", undefined, { "content-length": String(large.length) });
    expect(refused.answer.statusCode).toBe(413);
  });

  test.each(["/metrics", "/admin/stats"])("does not show %s to the world", async (path) => {
    let count = 0;
    serve = (_, response) => {
      count++;
      response.end("secret");
    };
    const { answer } = await proxy.ask(path, undefined);
    expect(answer.statusCode).toBe(404);
    expect(count).toBe(0);
  });
});

describe.skipIf(nginx === undefined)("bitnet serve behind it", () => {
  const folder = mkdtempSync(join(tmpdir(), "nginx-serve-"));
  const path = "/v1/chat/completions";
  const messages = [{ role: "user", content: "Tell me a story." }];
  let server: TestServer;
  let proxy: Nginx;

  beforeAll(async () => {
    const socket = join(folder, "back.sock");
    server = await startTestServer({ hosts: [socket], parallel: 1, trustProxy: 1 });
    proxy = await Nginx.start("nginx/bitnet.conf", socket);
  });

  afterAll(async () => {
    await proxy[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  test("streams an answer to its end", async () => {
    const whole = await proxy.ask(path, JSON.stringify({ messages, max_tokens: 12 }));
    const { choices } = JSON.parse(await textOf(whole.answer));
    const { answer } = await proxy.ask(path, JSON.stringify({ messages, max_tokens: 12, stream: true }));
    expect(answer.headers["content-type"]).toBe("text/event-stream; charset=utf-8");
    const events = (await textOf(answer)).trim().split("\n\n");
    expect(events.pop()).toBe("data: [DONE]");
    const pieces = events.map((event) => JSON.parse(event.replace("data: ", "")).choices[0].delta.content ?? "");
    expect(pieces.join("")).toBe(choices[0].message.content);
    expect(pieces.length).toBeGreaterThan(1);
  });

  test.each([true, false])("hears that a client has left (stream: %s)", async (stream) => {
    const { model, admission } = server.server.context.service;
    // Somebody else has the only place, so that the request cannot end by itself.
    const session = model.createSession({ contextSize: 512 });
    const tokens = session.generateTokens("Once upon a time", { maxTokens: 500, ignoreEos: true });
    await tokens.next();
    const asked = request({ socketPath: proxy.socket, path, method: "POST", agent: false });
    asked.on("error", () => {});
    asked.end(JSON.stringify({ messages, stream }));
    const until = async (isSo: () => boolean) => {
      while (!isSo()) {
        await new Promise(setImmediate);
      }
    };
    await until(() => admission.waiting === 1);
    asked.destroy();
    await until(() => admission.waiting === 0);
    session.close();
  });
});
