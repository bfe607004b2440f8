// What works for a user without a home folder, or with one that cannot be used: all but what has to be kept there.

import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeHub } from "../support/fake-hub.js";
import { type ProcessResult, root, runBitnet, tinyModel } from "../support/fixtures.js";

let folder: string;
let fake: FakeHub;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-home-"));
  fake = await FakeHub.start();
  fake.repositories.set("test/ready", { files: { "ggml-model-i2_s.gguf": readFileSync(tinyModel) } });
});
afterAll(async () => {
  await fake.stop();
  rmSync(folder, { recursive: true });
});

/** Nothing of the environment names a folder of the user. */
const bare = () => ({
  HOME: undefined,
  HF_HOME: undefined,
  HF_HUB_CACHE: undefined,
  HUGGINGFACE_HUB_CACHE: undefined,
  HF_TOKEN_PATH: undefined,
  BITNET_MODELS: undefined,
  BITNET_TUNING: undefined,
  XDG_CACHE_HOME: undefined,
  XDG_STATE_HOME: undefined,
  XDG_DATA_HOME: undefined,
  XDG_CONFIG_HOME: undefined,
  HF_ENDPOINT: fake.url,
  no_proxy: "127.0.0.1",
});

const story = ["run", "-p", "Once upon a time", "-n", "2", "-temp", "0", "--quiet"];

describe("without a home folder", () => {
  const noHome = join(root, "test", "support", "no-home.cjs");
  const run = (args: string[], env: NodeJS.ProcessEnv = {}): Promise<ProcessResult> =>
    runBitnet(args, { env: { ...bare(), NODE_OPTIONS: `--require=${noHome}`, ...env } });

  test.each([
    ["run", story],
    ["a conversation", ["run", "-cnv", "-n", "2", "--quiet"]],
    ["list", ["list"]],
    ["list --json", ["list", "--json"]],
    ["inspect of a file", ["inspect", tinyModel]],
    ["inspect of a model on the hub", ["inspect", "test/ready"]],
    ["tokenize", ["tokenize", "Once"]],
    ["help", ["setup-env", "--help"]],
  ])("%s works", async (_, args) => {
    expect(await run(args)).toMatchObject({ status: 0, stderr: expect.not.stringContaining("uv_os") });
  });

  test.each([
    ["a folder of models", {}, /no home folder to keep models in\nhint: set BITNET_MODELS/],
    ["a cache", { BITNET_MODELS: "models" }, /no home folder to keep downloads in\nhint: set HF_HOME/],
    ["what ~ means", { BITNET_MODELS: "models", HF_HOME: "~/hf" }, /~\/hf: this user has no home folder/],
  ])("what needs %s says which variable names one", async (_, variables, message) => {
    const env = Object.fromEntries(
      Object.entries(variables).map(([name, value]) => [name, name === "HF_HOME" ? value : join(folder, value)]),
    );
    const { status, stderr } = await run(["setup-env", "-hr", "test/ready", "-ld", join(folder, "logs")], env);
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringMatching(message) });
  });

  test("named folders suffice", async () => {
    const env = { BITNET_MODELS: join(folder, "mine"), HF_HOME: join(folder, "hf") };
    const { status, stderr } = await run(["setup-env", "-hr", "test/ready", "-ld", join(folder, "logs")], env);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(readdirSync(join(folder, "mine"))).toEqual(["ready"]);
  });

  test("tune has nowhere to save to, and says so before it measures", async () => {
    const { status, stderr } = await run(["tune", "--quick"]);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringMatching(/no home folder\nhint: .*--output/),
    });
  });
});

test.each([
  ["empty", () => ""],
  ["nowhere", () => "/nonexistent"],
  [
    "read-only",
    () => {
      const home = join(folder, "read-only");
      mkdirSync(home, { recursive: true });
      chmodSync(home, 0o500);
      return home;
    },
  ],
])("a HOME that is %s keeps nobody from running a model or listing what there is", async (_, home) => {
  const env = { ...bare(), HOME: home() };
  expect(await runBitnet(story, { env })).toMatchObject({ status: 0 });
  expect(await runBitnet(["run", "-cnv", "-n", "2", "--quiet"], { env })).toMatchObject({ status: 0 });
  expect(await runBitnet(["list"], { env })).toMatchObject({ status: 0 });
  expect(await runBitnet(["inspect", "test/ready"], { env })).toMatchObject({ status: 0 });
});

test("a temporary folder that is not there is named, with the variable that names it", async () => {
  const env = { ...bare(), HOME: folder, TMPDIR: join(folder, "none") };
  const { status, stderr } = await runBitnet(["inspect", "test/ready"], { env });
  expect(status).toBe(1);
  expect(stderr).toMatch(/no temporary folder can be made in .*none: no such file or directory\nhint: set TMPDIR/);
});
