// What the environment says about the hub.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readHubEnvironment } from "../../src/hub/environment.js";
import { openHub } from "../../src/hub/http.js";
import { findRegistered, registeredModels } from "../../src/hub/registry.js";
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

  test("takes timeouts in seconds", async () => {
    const env = { HF_HUB_DOWNLOAD_TIMEOUT: "30", HF_HUB_ETAG_TIMEOUT: "2.5" };
    expect(await readHubEnvironment(env)).toMatchObject({ downloadTimeoutMs: 30_000, lookupTimeoutMs: 2500 });
    expect((await openHub({ environment: await readHubEnvironment(env) })).retry.stallMs).toBe(30_000);
    for (const value of ["soon", "0", "-1", "1e9"]) {
      await expect(readHubEnvironment({ HF_HUB_ETAG_TIMEOUT: value })).rejects.toMatchObject({
        code: "USAGE",
        message: expect.stringContaining(
          `HF_HUB_ETAG_TIMEOUT: expected a number of seconds, up to 86400, but got ${value}`,
        ),
      });
    }
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
  for (const { short, repo, family, kind: use, parameters, license } of registeredModels) {
    const kind = use === "embedding" ? "embedding, with `bitnet embed`" : use;
    expect(docs).toContain(`\n| \`${short}\` | ${repo} | ${family} | ${kind} | ${parameters} | ${license} |\n`);
  }
});
