// Keys and what they may do: a server in this process, asked over HTTP.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addressClient, isLocalName, prefixOf } from "../../src/serve/addresses.js";
import { findExposure, KeyRing } from "../../src/serve/auth.js";
import { root, runBitnet } from "../support/fixtures.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-keys-"));
const keyFile = join(folder, "keys");
afterAll(() => rmSync(folder, { recursive: true }));

const chat = { messages: [{ role: "user", content: "Hello" }], max_tokens: 1 };
const bearer = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });

describe("a server with keys", () => {
  let server: TestServer;

  beforeAll(async () => {
    writeFileSync(
      keyFile,
      "# keys\nsk-chat name=chat\n\nsk-watch name=watch scope=metrics\nsk-boss scope=chat,admin,metrics weight=2\n",
    );
    server = await startTestServer({ apiKeys: ["sk-all"], apiKeyFile: keyFile });
  });
  afterAll(() => server[Symbol.asyncDispose]());

  test("answers those who have one, in each of the three headers", async () => {
    const ways: Record<string, string>[] = [
      { authorization: "Bearer sk-chat" },
      { authorization: "bearer sk-all" },
      { "x-api-key": "sk-chat" },
      { "api-key": "sk-boss" },
    ];
    for (const headers of ways) {
      expect((await server.post("/v1/chat/completions", chat, { headers })).status).toBe(200);
    }
  });

  test("refuses others with 401 and says what is needed, without the key", async () => {
    for (const headers of [{}, { authorization: "Bearer sk-wrong" }, { authorization: "Basic sk-chat" }]) {
      const answer = await server.post("/v1/chat/completions", chat, { headers: headers as Record<string, string> });
      expect(answer.status).toBe(401);
      const { error } = (await answer.json()) as { error: Record<string, unknown> };
      expect(error).toMatchObject({ type: "authentication_error", code: "invalid_api_key" });
      expect(error.message).not.toContain("sk-");
    }
    expect((await server.get("/version?api_key=sk-all")).status).toBe(401);
  });

  test("refuses a key beside another one, so that two programs on the way cannot see different clients", async () => {
    const headers = { authorization: "Bearer sk-chat", "x-api-key": "sk-boss" };
    expect((await server.post("/v1/chat/completions", chat, { headers })).status).toBe(401);
  });

  test("needs no key for health, models and the page", async () => {
    for (const path of [
      "/health",
      "/v1/health",
      "/livez",
      "/readyz",
      "/v2/health/live",
      "/models",
      "/v1/models",
      "/",
    ]) {
      expect([path, (await server.get(path)).status]).toEqual([path, 200]);
    }
    expect((await server.get("/version")).status).toBe(401);
  });

  test("lets a key do what its scope says: 403 otherwise", async () => {
    const answer = await server.post("/v1/chat/completions", chat, bearer("sk-watch"));
    expect(answer.status).toBe(403);
    expect(await answer.json()).toMatchObject({ error: { type: "permission_error", code: "forbidden" } });
    expect((await server.get("/health?deep=1", bearer("sk-chat"))).status).toBe(403);
    expect((await server.get("/health?deep=1")).status).toBe(401);
  });

  test("takes a changed file of keys when told, and keeps the old one if the new one is wrong", async () => {
    writeFileSync(keyFile, "sk-new name=new\n");
    await server.server.reload();
    expect((await server.post("/v1/chat/completions", chat, bearer("sk-chat"))).status).toBe(401);
    expect((await server.post("/v1/chat/completions", chat, bearer("sk-new"))).status).toBe(200);
    writeFileSync(keyFile, "sk-other wrong\n");
    await server.server.reload();
    expect((await server.post("/v1/chat/completions", chat, bearer("sk-new"))).status).toBe(200);
    const told = server.log.filter(({ level }) => level === "error").map(({ message }) => message);
    expect(told).toEqual([expect.stringContaining(`${keyFile}:1: expected NAME=VALUE`)]);
    expect(told.join()).not.toContain("sk-other");
  });
});

describe("a file of keys", () => {
  const read = (text: string) => {
    writeFileSync(keyFile, text);
    return new KeyRing({ apiKeys: [], apiKeyFile: keyFile });
  };

  test("gives limits and a weight to a key", () => {
    const ring = read("k1 name=a scope=chat,metrics rpm=60 tpm=9000 weight=0.5\r\nk2\r\n");
    expect(ring.find("k1")).toMatchObject({ requestsPerMinute: 60, tokensPerMinute: 9000, weight: 0.5 });
    expect([...ring.find("k1").scopes]).toEqual(["chat", "metrics"]);
    expect(ring.find("k2")).toMatchObject({ weight: 1 });
    expect([...ring.find("k2").scopes]).toEqual(["chat"]);
    expect(ring.find("k1").salt).not.toBe(ring.find("k2").salt);
  });

  test.each([
    ["k scope=root", "scope: expected some of chat,admin,metrics"],
    ["k rpm=many", "rpm: expected a number from 0 on"],
    ["k weight=0", "weight: expected a number from 0.01 on"],
    ["k colour=red", "expected NAME=VALUE with one of name, scope, rpm, tpm, weight"],
    ["k\nk", ":2: this key stands there twice"],
  ])("%j is refused with its place and without the key", (text, message) => {
    expect(() => read(text)).toThrow(message);
  });

  test("knows no key that merely begins like one", () => {
    const ring = read("secret-key");
    for (const key of ["secret", "secret-key2", "SECRET-KEY", ""]) {
      expect(() => ring.find(key)).toThrow("not known");
    }
  });
});

describe("a server that others can reach", () => {
  const open = { apiKeys: [], insecure: false, hosts: ["127.0.0.1", "0.0.0.0"] };

  test("does not start without a key, unless it is told to", () => {
    expect(findExposure(open)).toContain("--host 0.0.0.0");
    expect(findExposure({ ...open, hosts: ["::"] })).toContain("--api-key-file");
    expect(findExposure({ ...open, insecure: true })).toBeUndefined();
    expect(findExposure({ ...open, apiKeys: ["k"] })).toBeUndefined();
    expect(findExposure({ ...open, hosts: ["127.0.0.1", "::1", "localhost", "/run/bitnet.sock"] })).toBeUndefined();
  });

  test("is a usage error of the command", async () => {
    const result = await runBitnet(["serve", "--host", "0.0.0.0", "--port", "0"]);
    expect(result.status).toBe(2);
    expect(result.stderr).toContain("--insecure");
  });
});

test("the lines to copy have a place for the key where there is one", async () => {
  const lines = async (...options: string[]) => {
    const args = ["serve", "--port", "0", "--no-ui", ...options];
    const child = spawn(process.execPath, [join(root, "bin", "bitnet.js"), ...args]);
    let stderr = "";
    await new Promise<void>((resolve, reject) => {
      child.stderr.setEncoding("utf8").on("data", (text: string) => {
        stderr += text;
        if (/new OpenAI.*\n/.test(stderr)) {
          resolve();
        }
      });
      child.once("exit", (status) => reject(new Error(`the server ended with ${status}: ${stderr}`)));
    });
    child.kill("SIGKILL");
    return stderr.split("\n").filter((line) => /^(curl|new OpenAI)/.test(line));
  };
  const [curl, client] = await lines("--api-key", "secret");
  expect(curl).toMatch(/^curl http:\/\/127\.0\.0\.1:\d+\/v1\/chat\/completions -H 'authorization: Bearer KEY' -d /);
  expect(client).toMatch(/apiKey: "KEY" \}\)$/);
  const [open, anyone] = await lines();
  expect(open).toMatch(/completions -d /);
  expect(anyone).toMatch(/apiKey: "none" \}\)$/);
});

test("names and addresses count as local only if they are", () => {
  for (const host of ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"]) {
    expect([host, isLocalName(host)]).toEqual([host, true]);
  }
  for (const host of ["", "127.evil.example", "localhost.evil.example", "10.0.0.1", "0.0.0.0", "127.0.0.1.evil.com"]) {
    expect([host, isLocalName(host)]).toEqual([host, false]);
  }
});

test("addresses that one machine can choose freely are one client", () => {
  expect(prefixOf("2001:db8:1:2:aaaa::1")).toBe(prefixOf("2001:0db8:1:2:bbbb:1:2:3"));
  expect(prefixOf("2001:db8:1:2::1")).not.toBe(prefixOf("2001:db8:1:3::1"));
  expect(prefixOf("::ffff:10.0.0.1")).toBe(prefixOf("10.0.0.1"));
  expect([...addressClient("127.0.0.1").scopes]).toContain("admin");
  expect([...addressClient("10.0.0.1").scopes]).toEqual(["chat", "metrics"]);
});
