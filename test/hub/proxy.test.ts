// Proxies: which one is used, how it is asked, and what its answers mean.

import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openHub } from "../../src/hub/http.js";
import { createProxyFetch, proxyFor } from "../../src/hub/proxy.js";
import { openRepository } from "../../src/hub/repository.js";
import type { BitnetError } from "../../src/system/errors.js";
import { cert, key } from "../support/certificate.js";
import { FakeHub } from "../support/fake-hub.js";

const servers: { server: Server; sockets: Set<Socket> }[] = [];
afterEach(async () => {
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) {
      socket.destroy();
    }
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Listens on the loopback interface; returns host:port. */
function listen(server: Server): Promise<string> {
  const sockets = new Set<Socket>();
  servers.push({ server, sockets });
  server.on("connection", (socket: Socket) => sockets.add(socket));
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve(`127.0.0.1:${(server.address() as AddressInfo).port}`));
  });
}

describe("proxies", () => {
  const env = {
    https_proxy: "http://p:1",
    HTTP_PROXY: "http://p:2",
    no_proxy: "localhost, .corp.example,10.0.0.1:8080",
  };
  test.each([
    ["https://huggingface.co/a", "http://p:1"],
    ["http://huggingface.co/a", "http://p:2"],
    ["https://localhost/", undefined],
    ["https://hub.corp.example/", undefined],
    ["https://corp.example/", undefined],
    ["https://notcorp.example/", "http://p:1"],
    ["http://10.0.0.1:8080/", undefined],
    ["http://10.0.0.1/", "http://p:2"],
  ])("%s goes through %s", (url, expected) => {
    expect(proxyFor(new URL(url), env)).toBe(expected);
  });

  test("all_proxy is the fallback, * exempts all, and nothing means no proxy", () => {
    const url = new URL("https://huggingface.co");
    expect(proxyFor(url, { ALL_PROXY: "http://p:3" })).toBe("http://p:3");
    expect(proxyFor(url, { ALL_PROXY: "http://p:3", NO_PROXY: "*" })).toBeUndefined();
    expect(proxyFor(url, {})).toBeUndefined();
  });
});

describe("a request through a proxy", () => {
  let asked: string[];
  let authorization: (string | undefined)[];
  let proxy: string;
  beforeEach(async () => {
    [asked, authorization] = [[], []];
    const server = createServer((incoming, outgoing) => {
      asked.push(`${incoming.method} ${incoming.url}`);
      authorization.push(incoming.headers["proxy-authorization"]);
      forward(incoming, outgoing);
    });
    server.on("connect", (incoming: IncomingMessage, client: Socket) => {
      asked.push(`CONNECT ${incoming.url}`);
      authorization.push(incoming.headers["proxy-authorization"]);
      tunnel(incoming, client);
    });
    proxy = await listen(server);
  });

  function forward({ url = "", headers }: IncomingMessage, outgoing: ServerResponse): void {
    request(url, { headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(outgoing);
    }).end();
  }

  function tunnel({ url = "" }: IncomingMessage, client: Socket): void {
    const [host = "", port] = url.split(":");
    const server = connect(Number(port), host, () => {
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      server.pipe(client).pipe(server);
    });
    server.on("error", () => client.destroy());
    client.on("error", () => server.destroy());
  }

  test("asks it for an http address, with its password", async () => {
    const hub = await FakeHub.start();
    try {
      hub.repositories.set("test/model", { files: { a: "hello" } });
      const url = `${hub.url}/test/model/resolve/${hub.commitOf("test/model")}/a`;
      const through = createProxyFetch({ http_proxy: `user:p%40ss@${proxy}` });
      expect(await (await through(url, { headers: { "x-test": "1" } })).text()).toBe("hello");
      expect(asked).toEqual([`GET ${url}`]);
      expect(authorization).toEqual([`Basic ${Buffer.from("user:p@ss").toString("base64")}`]);
      expect(hub.seen[0]?.headers["x-test"]).toBe("1");
      expect(await (await createProxyFetch({})(url)).text()).toBe("hello");
      expect(asked).toHaveLength(1);
    } finally {
      await hub.stop();
    }
  });

  test("goes through a tunnel to an https address, with a user name alone, too", async () => {
    const host = await listen(createTlsServer({ key, cert }, (_, answer) => answer.end("hello")));
    const through = createProxyFetch({ https_proxy: `http://user@${proxy}` });
    const trusted = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      expect(await (await through(`https://${host}/a`)).text()).toBe("hello");
    } finally {
      process.env.NODE_TLS_REJECT_UNAUTHORIZED = trusted ?? "";
    }
    expect(asked).toEqual([`CONNECT ${host}`]);
    expect(authorization).toEqual([`Basic ${Buffer.from("user:").toString("base64")}`]);
  });

  test("does not trust every certificate, and says so at once", async () => {
    const host = await listen(createTlsServer({ key, cert }));
    const error = await lookUp(`https://${host}`, { https_proxy: proxy });
    expect(error.message).toMatch(new RegExp(`^the certificate of ${host} is not trusted: it is signed by itself$`));
    expect(error.hint).toMatch(/NODE_EXTRA_CA_CERTS/);
    expect(asked).toHaveLength(1);
  });
});

let notes: string[];

/** What a look-up of a repository fails with. */
async function lookUp(endpoint: string, env: Record<string, string>): Promise<BitnetError> {
  notes = [];
  const hub = await openHub({
    environment: { endpoint, cacheDir: "/nowhere", offline: false },
    fetch: createProxyFetch(env),
    retry: { baseDelayMs: 1, maxDelayMs: 1 },
    onNote: (text) => notes.push(text),
  });
  return openRepository(hub, { name: "a/b", revision: "main" }).then(
    () => expect.unreachable("it succeeded"),
    (error) => error,
  );
}

describe("what a proxy answers", () => {
  let connections: number;

  /** A proxy that says this to whatever it is asked; undefined: it hangs up. */
  function proxyThatSays(answer: string | undefined): Promise<string> {
    connections = 0;
    const server = createTcpServer((socket) => {
      connections++;
      socket.on("error", () => {});
      socket.once("data", () => socket.end(answer ?? ""));
    });
    return listen(server);
  }
  const status = (line: string) => `HTTP/1.1 ${line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;

  test.each([
    ["407 Proxy Authentication Required", "user:wrong@", /refuses the user name or password in https_proxy \(407\)$/],
    ["407 Proxy Authentication Required", "", /wants a user name and a password \(407\)$/],
    ["403 Forbidden", "user:wrong@", /does not connect to hub\.example \(403\)$/],
    ["405 Method Not Allowed", "", /does not connect to hub\.example \(405\)$/],
    ["301 Moved", "", /does not connect to hub\.example \(301\)$/],
  ])("to CONNECT: %s, with %j, is told at once", async (line, user, message) => {
    const proxy = await proxyThatSays(status(line));
    const error = await lookUp("https://hub.example", { https_proxy: `http://${user}${proxy}` });
    expect(error).toMatchObject({ code: "NETWORK", message: expect.stringMatching(message) });
    expect(error.message).toMatch(`the proxy ${proxy} `);
    expect(error.hint).toMatch(/https_proxy/);
    expect([connections, notes]).toEqual([1, []]);
    expectNoPassword(error);
  });

  test.each([
    ["502 Bad Gateway", /the proxy \S+ does not connect to hub\.example \(502\)$/],
    ["503 Service Unavailable", /the proxy \S+ does not connect to hub\.example \(503\)$/],
    [undefined, /cannot reach hub\.example through the proxy \S+ \(the connection was reset\)$/],
  ])("to CONNECT: %s is tried again, then told", async (line, message) => {
    const proxy = await proxyThatSays(line && status(line));
    const error = await lookUp("https://hub.example", { HTTPS_PROXY: `http://user:wrong@${proxy}` });
    expect(error).toMatchObject({ code: "NETWORK", message: expect.stringMatching(message) });
    expect(error.hint).toMatch(/check HTTPS_PROXY.*no_proxy=hub\.example/);
    expect(connections).toBe(4);
    expect(notes.join()).not.toMatch(/UND_|wrong/);
    expectNoPassword(error);
  });

  test("to an http address: hanging up is tried again, then told", async () => {
    const proxy = await proxyThatSays(undefined);
    const error = await lookUp("http://hub.example", { http_proxy: `http://user:wrong@${proxy}` });
    expect(error.message).toBe(
      `a/b@main: cannot reach hub.example through the proxy ${proxy} (the connection was closed)`,
    );
    expect(connections).toBe(4);
    expectNoPassword(error);
  });

  test("to an http address: 407 is told at once", async () => {
    const proxy = await proxyThatSays(status("407 Proxy Authentication Required"));
    const error = await lookUp("http://hub.example", { http_proxy: `http://user:wrong@${proxy}` });
    expect(error.message).toMatch(/refuses the user name or password in http_proxy \(407\)$/);
    expect(connections).toBe(1);
    expectNoPassword(error);
  });

  test("what is no HTTP is told with the proxy's name", async () => {
    const proxy = await proxyThatSays("SSH-2.0-OpenSSH\r\n");
    const error = await lookUp("https://hub.example", { https_proxy: `http://user:wrong@${proxy}` });
    expect(error.message).toMatch(`cannot reach hub.example through the proxy ${proxy} (`);
    expectNoPassword(error);
  });

  test("a proxy that is not there is told with its name", async () => {
    const proxy = await proxyThatSays("");
    await new Promise((resolve) => servers.splice(0)[0]?.server.close(resolve));
    const error = await lookUp("https://hub.example", { https_proxy: `http://user:wrong@${proxy}` });
    expect(error.message).toMatch(`cannot reach hub.example through the proxy ${proxy} (connection refused)`);
    expectNoPassword(error);
  });

  function expectNoPassword(error: BitnetError): void {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      expect(`${cause.stack} ${JSON.stringify(cause)} ${error.hint}`).not.toMatch(/wrong|d3Jvbmc/);
    }
  }

  test.each(["socks5://user:password@p:1", "http://user:password@", "http://us%er:password@p:1"])(
    "the address %s is refused without its password",
    async (proxy) => {
      const fetch = createProxyFetch({ https_proxy: proxy });
      const error = await fetch("https://huggingface.co").catch((thrown) => thrown);
      expect(error).toMatchObject({ code: "UNSUPPORTED", message: expect.stringMatching(/https_proxy/) });
      expect(JSON.stringify([error.message, error.hint, String(error.cause)])).not.toContain("password");
    },
  );
});
