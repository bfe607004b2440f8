// What pages of others can make a browser do with a server of this machine, and what connections can do to it.

import { once } from "node:events";
import { type IncomingHttpHeaders, request } from "node:http";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "../support/serve.js";

const chat = JSON.stringify({ messages: [{ role: "user", content: "Hello" }], max_tokens: 1 });

interface Reply {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** With any headers, as no browser lets a page choose them. */
function send(
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string },
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { method = "GET", headers = {}, body } = options;
    const sent = request(url, { method, headers, agent: false }, async (answer) => {
      let text = "";
      for await (const part of answer.setEncoding("utf8")) {
        text += part;
      }
      resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

/** What a connection gets back for these bytes, until the server closes it. */
function sendRaw(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    let received = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    socket.on("data", (data) => {
      received += data;
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(received));
  });
}

describe("a server of this machine", () => {
  let server: TestServer;
  let port: number;

  beforeAll(async () => {
    server = await startTestServer({
      corsOrigins: ["https://chat.example.org"],
      allowedHosts: ["models.internal"],
    });
    port = Number(new URL(server.url).port);
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const post = (headers: Record<string, string>) =>
    send(`${server.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: chat,
    });

  test("does not answer to a foreign name that was made to mean it (DNS rebinding)", async () => {
    for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1.evil.example", "localhost@evil.example"]) {
      const answer = await post({ host });
      expect([host, answer.status]).toEqual([host, 403]);
      expect(JSON.parse(answer.body)).toMatchObject({ error: { code: "forbidden_host" } });
    }
    for (const host of ["localhost", `localhost:${port}`, `[::1]:${port}`, "LOCALHOST", "models.internal:80"]) {
      expect([host, (await post({ host })).status]).toEqual([host, 200]);
    }
    expect((await send(`${server.url}/health`, { headers: { host: "evil.example" } })).status).toBe(403);
  });

  test("does not take requests of pages of other origins", async () => {
    for (const origin of ["https://evil.example", "null", "https://chat.example.org.evil.example", "file://"]) {
      const answer = await post({ origin });
      expect([origin, answer.status]).toEqual([origin, 403]);
      expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
    }
  });

  test("takes those of its own pages, of this machine and of allowed origins, each by its name", async () => {
    for (const origin of [server.url, "http://localhost:3000", "http://[::1]:5173", "https://chat.example.org"]) {
      const answer = await post({ origin });
      expect([origin, answer.status]).toEqual([origin, 200]);
      expect(answer.headers["access-control-allow-origin"]).toBe(origin);
      expect(answer.headers.vary).toBe("Origin");
    }
    const own = await post({ origin: server.url });
    expect(own.headers["access-control-allow-credentials"]).toBeUndefined();
  });

  test("answers preflights without a key, and not those of other origins", async () => {
    const ask = (origin: string) =>
      send(`${server.url}/v1/chat/completions`, {
        method: "OPTIONS",
        headers: {
          origin,
          "access-control-request-method": "POST",
          "access-control-request-headers": "authorization,content-type, x stainless",
        },
      });
    const answer = await ask("https://chat.example.org");
    expect(answer.status).toBe(204);
    expect(answer.headers).toMatchObject({
      "access-control-allow-origin": "https://chat.example.org",
      "access-control-allow-headers": "authorization, content-type",
      "access-control-allow-credentials": "true",
    });
    expect((await ask("https://evil.example")).status).toBe(403);
  });

  test("takes only JSON from a page, as anything else needs no preflight", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "text/plain; a=application/json", ""]) {
      const answer = await post({ origin: server.url, "content-type": type });
      expect([type, answer.status]).toEqual([type, 415]);
    }
    expect((await post({ "content-type": "text/plain" })).status).toBe(200); // no page: curl -d
  });

  test("refuses requests that two programs on the way could read differently", async () => {
    const head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n";
    for (const smuggled of [
      `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!`,
      `${head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
      `${head}Host: evil.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
      `${head}X-Api-Key : k\r\nContent-Length: 2\r\n\r\n{}`,
      "GET /health HTTP/1.1\r\n\r\n",
    ]) {
      expect(await sendRaw(port, smuggled)).toMatch(/^HTTP\/1\.1 400 /);
    }
    const long = `GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ${"a".repeat(17_000)}\r\n\r\n`;
    expect(await sendRaw(port, long)).toMatch(/^HTTP\/1\.1 431 /);
  });

  test("ends connections that send their request too slowly, whole or in drops", async () => {
    await using impatient = await startTestServer({ bodyTimeout: 1 });
    const port = Number(new URL(impatient.url).port);
    const head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n";
    const drip = (begin: string, drop: string) =>
      new Promise<string>((resolve) => {
        let received = "";
        let timer: NodeJS.Timeout | undefined;
        const socket = connect(port, "127.0.0.1", () => {
          socket.write(begin);
          timer = setInterval(() => socket.write(drop), 50);
        });
        socket.on("data", (data) => {
          received += data;
        });
        socket.on("error", () => {});
        socket.on("close", () => {
          clearInterval(timer);
          resolve(received);
        });
      });
    const answers = await Promise.all([
      drip(head, "X-A: b\r\n"),
      drip(`${head}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{`, " "),
      sendRaw(port, head), // and then nothing
    ]);
    for (const answer of answers) {
      expect(answer).toMatch(/^(HTTP\/1\.1 408 |$)/);
    }
    expect((await send(`${impatient.url}/health`, {})).status).toBe(200);
  });

  test("an address holds so many connections; the requests of others are refused, more than twice as many are closed", async () => {
    await using few = await startTestServer({ connectionsPerAddress: 3 });
    const port = Number(new URL(few.url).port);
    const sockets: Socket[] = [];
    const open = async () => {
      const socket = connect(port, "127.0.0.1");
      sockets.push(socket);
      socket.on("error", () => {});
      await once(socket, "connect");
      return socket;
    };
    const ask = (socket: Socket) =>
      new Promise<string>((resolve) => {
        let received = "";
        socket.on("data", (data) => {
          received += data;
        });
        socket.on("close", () => resolve(received));
        socket.write("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      });
    const first = await open();
    await open();
    await open();
    const refused = await ask(await open());
    expect(refused).toMatch(/^HTTP\/1\.1 429 /);
    expect(refused).toMatch(/retry-after: 1/i);
    expect(refused).toContain("too_many_connections");
    expect(await ask(first)).toMatch(/^HTTP\/1\.1 200 /);
    await expect.poll(async () => ask(await open())).toMatch(/^HTTP\/1\.1 200 /);
    for (let i = 0; i < 8; i++) {
      await open();
    }
    await expect.poll(() => sockets.slice(-8).filter((socket) => socket.destroyed).length).toBeGreaterThan(1);
    for (const socket of sockets) {
      socket.destroy();
    }
    await expect
      .poll(() =>
        send(`${few.url}/health`, {}).then(
          ({ status }) => status,
          () => 0,
        ),
      )
      .toBe(200);
  });
});

describe("behind a proxy", () => {
  test("an address that the proxy tells is not one of this machine", async () => {
    await using server = await startTestServer();
    const headers = { "x-forwarded-for": "203.0.113.9" };
    expect((await server.get("/health?deep=1", { headers })).status).toBe(403);
  });
});
