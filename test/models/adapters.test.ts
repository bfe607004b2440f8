// Adapters of the hub, from the command line, against a hub on the loopback interface.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeTinyAdapter } from "../support/adapters.js";
import { FakeHub } from "../support/fake-hub.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-test-"));
let hub: FakeHub;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  hub = await FakeHub.start();
  const proxies = ["http_proxy", "https_proxy", "all_proxy"].flatMap((name) => [name, name.toUpperCase()]);
  const unset = [
    ...proxies,
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_TOKEN",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
  ];
  env = {
    ...Object.fromEntries(unset.map((name) => [name, ""])),
    ...{ HF_ENDPOINT: hub.url, HF_HOME: join(folder, "hf") },
  };
  const adapter = writeTinyAdapter(join(folder, "adapter"), 256, 0.5);
  const names = ["adapter_config.json", "adapter_model.safetensors"];
  const files = Object.fromEntries(names.map((name) => [name, readFileSync(join(adapter, name))]));
  hub.repositories.set("me/style", { files: { ...files, "optimizer.pt": Buffer.alloc(10) } });
  hub.repositories.set("me/model", { files: { "model.gguf": readFileSync(tinyModel) } });
  hub.repositories.set("me/nothing", { files: { "README.md": Buffer.from("# Nothing\n") } });
});
afterAll(async () => {
  await hub.stop();
  rmSync(folder, { recursive: true });
});

const logits = (...lora: string[]) =>
  runBitnet(["logits", "-m", tinyModel, "--ids", "1,2,3", "--json", ...lora], { env });

test("an adapter of the hub is downloaded once, and nothing else of its repository", async () => {
  const [base, local] = [await logits(), await logits("--lora", join(folder, "adapter"))];
  const first = await logits("--lora", "me/style");
  expect(first).toMatchObject({ status: 0, stdout: local.stdout });
  expect(first.stdout).not.toBe(base.stdout);
  const offline = await runBitnet(["logits", "-m", tinyModel, "--ids", "1,2,3", "--json", "--lora", "me/style=1"], {
    env: { ...env, HF_HUB_OFFLINE: "1" },
  });
  expect(offline).toMatchObject({ status: 0, stdout: local.stdout });
});

test.each([
  ["me/nothing", /me\/nothing: no adapter: the repository has no adapter_model.safetensors and no .gguf file/],
  ["no-such-folder", /no-such-folder: no such adapter\nhint: an adapter is a folder of PEFT/],
  ["me/model", /general\.type is missing; "adapter" expected of an adapter/],
])("%s is refused with what an adapter is", async (name, message) => {
  const { status, stderr } = await logits("--lora", name);
  expect(stderr).toMatch(message);
  expect(status).toBe(1);
});
