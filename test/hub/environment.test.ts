// What the environment says about the hub, and its proxies.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readHubEnvironment } from "../../src/hub/environment.js";
import { createProxyFetch, proxyFor } from "../../src/hub/proxy.js";
import { findRegistered, registeredModels } from "../../src/hub/registry.js";
import { FakeHub } from "../support/fake-hub.js";
import { root } from "../support/fixtures.js";

let home: string;
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "bitnet-home-"));
});
afterAll(() => {
  rmSync(home, { recursive: true });
});

describe("the environment", () => {
  test("has huggingface_hub's defaults", async () => {
    expect(await readHubEnvironment({ HF_TOKEN_PATH: "/nowhere" })).toEqual({
      endpoint: "https://huggingface.co",
      cacheDir: join(homedir(), ".cache", "huggingface", "hub"),
      offline: false,
    });
  });

  test.each([
    [{ HF_HUB_CACHE: "/a", HUGGINGFACE_HUB_CACHE: "/b", HF_HOME: "/c", XDG_CACHE_HOME: "/d" }, "/a"],
    [{ HUGGINGFACE_HUB_CACHE: "/b", HF_HOME: "/c", XDG_CACHE_HOME: "/d" }, "/b"],
    [{ HF_HOME: "/c", XDG_CACHE_HOME: "/d" }, "/c/hub"],
    [{ XDG_CACHE_HOME: "/d" }, "/d/huggingface/hub"],
    [{ HF_HOME: "~/models" }, join(homedir(), "models", "hub")],
  ])("%j puts the cache into %s", async (env, expected) => {
    expect((await readHubEnvironment(env)).cacheDir).toBe(expected);
  });

  test.each([
    ["1", true],
    ["TRUE", true],
    ["yes", true],
    ["on", true],
    ["0", false],
    ["", false],
    ["no", false],
  ])("HF_HUB_OFFLINE=%s means offline: %s", async (value, offline) => {
    expect((await readHubEnvironment({ HF_HUB_OFFLINE: value })).offline).toBe(offline);
  });

  test("takes the token from HF_TOKEN, else from the token file", async () => {
    const folder = join(home, "hf");
    mkdirSync(folder);
    writeFileSync(join(folder, "token"), "hf_fromfile\n");
    const file = { token: "hf_fromfile", tokenSource: join(folder, "token") };
    expect(await readHubEnvironment({ HF_HOME: folder })).toMatchObject(file);
    expect(await readHubEnvironment({ HF_HOME: home, HF_TOKEN_PATH: join(folder, "token") })).toMatchObject(file);
    expect(await readHubEnvironment({ HF_HOME: folder, HF_TOKEN: " hf_fromenv\n" })).toMatchObject({
      token: "hf_fromenv",
      tokenSource: "HF_TOKEN",
    });
    const disabled = await readHubEnvironment({ HF_HOME: folder, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" });
    expect(disabled.token).toBeUndefined();
  });

  test("refuses a broken token without showing it", async () => {
    const error = await readHubEnvironment({ HF_TOKEN: "hf_secret\u00e4" }).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "USAGE", message: expect.stringMatching(/token in HF_TOKEN/) });
    expect(error.message).not.toContain("secret");
  });

  test.each([
    ["https://hub.example/", "https://hub.example"],
    ["http://127.0.0.1:8080/hf//", "http://127.0.0.1:8080/hf"],
  ])("HF_ENDPOINT=%s becomes %s", async (value, expected) => {
    expect((await readHubEnvironment({ HF_ENDPOINT: value })).endpoint).toBe(expected);
  });

  test.each(["hub.example", "ftp://hub.example", "https://user:password@hub.example"])(
    "HF_ENDPOINT=%s is refused and not repeated",
    async (value) => {
      const error = await readHubEnvironment({ HF_ENDPOINT: value }).catch((thrown) => thrown);
      expect(error).toMatchObject({ code: "USAGE", message: expect.stringMatching(/^HF_ENDPOINT/) });
      expect(error.message).not.toContain("password");
    },
  );
});

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

  test("a request goes through the proxy that is named", async () => {
    const hub = await FakeHub.start();
    hub.repositories.set("test/model", { files: { a: "hello" } });
    const tunnels: string[] = [];
    const proxy = createServer().on("connect", (request: IncomingMessage, client: Socket) => {
      tunnels.push(request.url ?? "");
      const [host = "", port] = (request.url ?? "").split(":");
      const server = connect(Number(port), host, () => {
        client.write("HTTP/1.1 200 Connection established\r\n\r\n");
        server.pipe(client).pipe(server);
      });
      server.on("error", () => client.destroy());
      client.on("error", () => server.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    try {
      const url = `${hub.url}/test/model/resolve/${hub.commitOf("test/model")}/a`;
      const address = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
      const through = createProxyFetch({ http_proxy: address });
      expect(await (await through(url, { headers: { "x-test": "1" } })).text()).toBe("hello");
      expect(tunnels).toEqual([new URL(hub.url).host]);
      expect(hub.seen[0]?.headers["x-test"]).toBe("1");
      expect(await (await createProxyFetch({})(url)).text()).toBe("hello");
      expect(tunnels).toHaveLength(1);
    } finally {
      proxy.closeAllConnections();
      proxy.close();
      await hub.stop();
    }
  });

  test("a proxy of an unknown kind is refused without its password", async () => {
    const fetch = createProxyFetch({ https_proxy: "socks5://user:password@p:1" });
    const error = await fetch("https://huggingface.co").catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "UNSUPPORTED", message: expect.stringMatching(/https_proxy/) });
    expect(JSON.stringify([error.message, error.hint, String(error.cause)])).not.toContain("password");
  });
});

describe("the registry", () => {
  test("holds the seventeen models of setup_env.py once each", () => {
    expect(registeredModels).toHaveLength(17);
    expect(new Set(registeredModels.map(({ repo }) => repo.toLowerCase())).size).toBe(17);
  });

  test("finds a model however its name is written", () => {
    expect(findRegistered("microsoft/bitnet-b1.58-2b-4t")?.ggufRepo).toBe("microsoft/BitNet-b1.58-2B-4T-gguf");
    expect(findRegistered("test/model")).toBeUndefined();
  });
});

test("the documentation lists the registry", () => {
  const docs = readFileSync(join(root, "docs", "models.md"), "utf8");
  for (const { repo, family, kind, parameters, license } of registeredModels) {
    expect(docs).toContain(`\n| ${repo} | ${family} | ${kind} | ${parameters} | ${license} |\n`);
  }
});
