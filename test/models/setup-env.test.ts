// bitnet setup-env, list and rm from outside, against a hub on the loopback interface.

import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openGguf } from "../../src/gguf/gguf.js";
import { withLock } from "../../src/system/lock.js";
import { readGguf, writeSplit } from "../support/edit-gguf.js";
import { FakeHub, sha256 } from "../support/fake-hub.js";
import { type ProcessResult, readFixture, root, runBitnet, tinyModel } from "../support/fixtures.js";

const tiny = readFileSync(tinyModel); // I2_S
const token = "hf_abcdefghijklmnopqrstuvwxyz";

let fake: FakeHub;
let folder: string;
let env: NodeJS.ProcessEnv;
const started: ChildProcess[] = [];

beforeEach(async () => {
  fake = await FakeHub.start();
  folder = mkdtempSync(join(tmpdir(), "bitnet-setup-"));
  env = {
    ...Object.fromEntries(
      ["http_proxy", "https_proxy", "all_proxy"].flatMap((name) => [
        [name, ""],
        [name.toUpperCase(), ""],
      ]),
    ),
    HF_ENDPOINT: fake.url,
    HF_HOME: join(folder, "hf"),
    HF_HUB_CACHE: "",
    HUGGINGFACE_HUB_CACHE: "",
    HF_TOKEN: "",
    HF_HUB_OFFLINE: "",
    TRANSFORMERS_OFFLINE: "",
  };
  fake.repositories.set("test/ready", {
    files: { "README.md": "a model", "ggml-model-i2_s.gguf": tiny, "other-f32.gguf": "not to be touched" },
  });
});
afterEach(async () => {
  for (const child of started.splice(0)) {
    child.kill("SIGKILL");
  }
  await fake.stop();
  rmSync(folder, { recursive: true, force: true });
});

const models = () => join(folder, "models");
const cache = () => join(folder, "hf", "hub");

function run(command: string, args: string[], extra: NodeJS.ProcessEnv = {}): Promise<ProcessResult> {
  const logs = command === "setup-env" ? ["-ld", join(folder, "logs")] : [];
  return runBitnet([command, "-md", models(), ...logs, ...args], { env: { ...env, ...extra } });
}

async function setupReady(): Promise<string> {
  const { status, stderr } = await run("setup-env", ["-hr", "test/ready"]);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  return join(models(), "ready", "ggml-model-i2_s.gguf");
}

describe("bitnet setup-env with a published GGUF file", () => {
  test("puts it where setup_env.py would and says what to type next, which runs", async () => {
    const { status, stdout, stderr } = await run("setup-env", ["-hr", "test/ready", "-q", "i2_s"]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    const path = join(models(), "ready", "ggml-model-i2_s.gguf");
    expect(readFileSync(path).equals(tiny)).toBe(true);
    expect(stderr).toMatch(/GGUF model saved at .*ggml-model-i2_s\.gguf \(bitnet-b1\.58, i2_s, [\d.]+ MB\)/);
    expect(stdout).toMatch(/^bitnet run -m \S*ggml-model-i2_s\.gguf -p ".*"( -cnv)?\n$/);
    expect(fake.seen.some(({ path: asked }) => asked.includes("other-f32"))).toBe(false);

    const story = await runBitnet(["run", "-m", path, "-p", "Once upon a time", "-n", "4", "-temp", "0", "--quiet"]);
    expect(story).toMatchObject({ status: 0, stdout: expect.stringMatching(/^Once upon a time, there/) });
  });

  test("shares the bytes with the cache", async () => {
    const path = await setupReady();
    const blob = join(cache(), "models--test--ready", "blobs", sha256(tiny));
    expect(statSync(path).ino).toBe(statSync(blob).ino);
  });

  test("does nothing the second time, without a word to the hub", async () => {
    await setupReady();
    fake.seen.length = 0;
    const { status, stdout, stderr } = await run("setup-env", ["-hr", "test/ready"]);
    expect({ status, seen: fake.seen.length }).toEqual({ status: 0, seen: 0 });
    expect(stderr).toMatch(/GGUF model already exists at/);
    expect(stdout).toMatch(/^bitnet run -m/);
  });

  test("joins a model that is published in several files", async () => {
    const places = writeSplit(folder, "mini-i2_s", readGguf(tinyModel), 3);
    fake.repositories.set("test/split", {
      files: Object.fromEntries(places.map((place) => [`gguf/${basename(place)}`, readFileSync(place)])),
    });
    const { status, stderr } = await run("setup-env", ["-hr", "test/split"]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    const path = join(models(), "split", "ggml-model-i2_s.gguf");
    expect(openGguf(path).tensors()).toHaveLength(openGguf(tinyModel).tensors().length);
    const story = await runBitnet(["run", "-m", path, "-p", "Once upon a time", "-n", "4", "-temp", "0", "--quiet"]);
    expect(story).toMatchObject({ status: 0, stdout: expect.stringMatching(/^Once upon a time, there/) });
  });

  test("names the part that a repository lacks", async () => {
    const places = writeSplit(folder, "mini-i2_s", readGguf(tinyModel), 3).slice(0, 2);
    fake.repositories.set("test/split", {
      files: Object.fromEntries(places.map((place) => [basename(place), readFileSync(place)])),
    });
    const { status, stderr } = await run("setup-env", ["-hr", "test/split"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/error: test\/split holds no mini-i2_s-00003-of-00003\.gguf/);
  });

  test("copes with a server that sends whole files only", async () => {
    fake.lastingFaults.push({ path: ".gguf", ignoreRange: true });
    expect(readFileSync(await setupReady()).equals(tiny)).toBe(true);
  });

  test("replaces a file that is cut off", async () => {
    mkdirSync(join(models(), "ready"), { recursive: true });
    writeFileSync(join(models(), "ready", "ggml-model-i2_s.gguf"), tiny.subarray(0, 1_000_000));
    const path = await setupReady();
    expect(readFileSync(path).equals(tiny)).toBe(true);
  });

  test("replaces a file whose weights are of another type than its name says", async () => {
    const path = join(models(), "ready", "ggml-model-tq2_0.gguf");
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, tiny);
    const { status, stderr } = await run("setup-env", ["-hr", "test/ready", "-q", "tq2_0"]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stderr).toMatch(/ggml-model-tq2_0\.gguf: its weights are i2_s, not tq2_0; making it again/);
    expect(
      openGguf(path)
        .tensors()
        .map(({ type }) => type),
    ).toContain("TQ2_0");
  });

  test("gives the result as data with --json, and keeps logs", async () => {
    const { status, stdout } = await run("setup-env", ["-hr", "test/ready@main", "--json"]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      path: join(models(), "ready", "ggml-model-i2_s.gguf"),
      bytes: tiny.length,
      type: "i2_s",
      origin: "published",
      architecture: "bitnet-b1.58",
      repository: "test/ready",
      commit: fake.commitOf("test/ready"),
      next: expect.stringMatching(/^bitnet run -m/),
    });
    expect(readdirSync(join(folder, "logs")).sort()).toEqual(["download_model.log", "setup.log"]);
    expect(readFileSync(join(folder, "logs", "setup.log"), "utf8")).toMatch(/Looking up test\/ready@main/);
  });

  test("finds what the makers of a registered model publish beside it", async () => {
    fake.repositories.set("microsoft/BitNet-b1.58-2B-4T", {
      files: { "config.json": "{}", "model.safetensors": Buffer.alloc(2_000_000) },
    });
    fake.repositories.set("microsoft/BitNet-b1.58-2B-4T-gguf", { files: { "ggml-model-i2_s.gguf": tiny } });
    const { status, stdout, stderr } = await run("setup-env", ["-hr", "microsoft/BitNet-b1.58-2B-4T"]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(readFileSync(join(models(), "BitNet-b1.58-2B-4T", "ggml-model-i2_s.gguf")).equals(tiny)).toBe(true);
    expect(stdout).toMatch(/ -cnv\n$/);
    expect(fake.seen.some(({ path }) => path.includes("safetensors"))).toBe(false);
  });

  test("continues after Ctrl-C with what had come", async () => {
    fake.faults.push({ path: ".gguf" }, { path: ".gguf", stallAt: 700_000 }); // none for the look at the head
    const blob = join(cache(), "models--test--ready", "blobs", sha256(tiny));
    const first = startSetup(["-hr", "test/ready"]);
    await first.until(() => sizeOf(`${blob}.incomplete`) === 700_000);
    first.kill("SIGINT");
    const stopped = await first.end;
    expect(stopped).toMatchObject({ status: 130 });
    expect(stopped.stderr).toMatch(/stopped; the same command continues where it stopped/);
    const kept = sizeOf(`${blob}.incomplete`);
    expect(kept).toBe(700_000);
    expect(existsSync(join(models(), "ready", "ggml-model-i2_s.gguf"))).toBe(false);

    fake.seen.length = 0;
    await setupReady();
    const ranges = fake.seen.map(({ headers }) => headers.range);
    expect(ranges).toContain(`bytes=${kept}-`);
  });

  test("two processes on one cache fetch it once; when one is killed the other takes over", async () => {
    fake.faults.push({ path: ".gguf" }, { path: ".gguf", stallAt: 900_000 }); // none for the look at the head
    const blob = join(cache(), "models--test--ready", "blobs", sha256(tiny));
    const first = startSetup(["-hr", "test/ready"]);
    await first.until(() => sizeOf(`${blob}.incomplete`) === 900_000);
    const second = startSetup(["-hr", "test/ready"]);
    await second.until((stderr) => stderr.includes("another process is setting it up; waiting"));
    first.kill("SIGKILL");
    expect(await first.end).toMatchObject({ signal: "SIGKILL" });
    expect(await second.end).toMatchObject({ status: 0 });
    expect(readFileSync(join(models(), "ready", "ggml-model-i2_s.gguf")).equals(tiny)).toBe(true);
    const heads = 2 * 2 ** 20; // each looked at the beginning of the file
    expect(fake.sent).toBe(tiny.length + heads);
  });

  test("works offline from the cache, and says so when it cannot", async () => {
    const path = await setupReady();
    await fake.stop();
    rmSync(path);
    expect(await run("setup-env", ["-hr", "test/ready"], { HF_HUB_OFFLINE: "1" })).toMatchObject({ status: 0 });
    expect(existsSync(path)).toBe(true);
    const { status, stderr } = await run("setup-env", ["-hr", "test/other"], { HF_HUB_OFFLINE: "1" });
    expect(status).toBe(1);
    expect(stderr).toMatch(/error: test\/other@main is not in the cache, and HF_HUB_OFFLINE is set\nhint: unset/);
  });

  test("reads a private repository with HF_TOKEN, which nothing repeats", async () => {
    fake.repositories.set("test/private", { files: { "ggml-model-i2_s.gguf": tiny }, token });
    const refused = await run("setup-env", ["-hr", "test/private", "--verbose"], {
      HF_TOKEN: "hf_wrong",
      BITNET_DEBUG: "1",
    });
    expect(refused.status).toBe(1);
    expect(refused.stdout + refused.stderr).not.toMatch(/hf_[a-z]/);
    const allowed = await run("setup-env", ["-hr", "test/private", "--verbose"], { HF_TOKEN: token });
    expect(allowed.status).toBe(0);
    const logs = readdirSync(join(folder, "logs")).map((name) => readFileSync(join(folder, "logs", name), "utf8"));
    expect([allowed.stdout, allowed.stderr, ...logs].join()).not.toMatch(/hf_[a-z]|signature/);
  });
});

function sizeOf(path: string): number {
  return existsSync(path) ? statSync(path).size : 0;
}

describe("Ctrl-C ends setup-env with 130", () => {
  const never = new Promise(() => {});
  const asked = (part: string) => () => fake.seen.some(({ path }) => path.includes(part));

  test.each([
    ["while the hub says nothing", { path: "revision/main", after: never }, "revision/main"],
    ["while it lists nothing", { path: "/tree/", after: never }, "/tree/"],
    ["while the head of the file does not come", { path: ".gguf", after: never }, "?signature"],
    ["in a pause that a server asks for", { path: ".gguf", status: 503, retryAfter: "300" }, "?signature"],
    [
      "in a pause of the hub's limit",
      { path: "revision/main", status: 429, headers: { ratelimit: '"api";t=299' } },
      "rev",
    ],
  ])("%s", async (_, fault, request) => {
    const { path, ...rest } = fault;
    fake.lastingFaults.push({ ...rest, path: path === "/tree/" ? fake.commitOf("test/ready") : path });
    const setup = startSetup(["-hr", "test/ready"]);
    await setup.until(asked(request));
    setup.kill("SIGINT");
    expect(await setup.end).toMatchObject({ status: 130, signal: null });
    expect(existsSync(join(models(), "ready"))).toBe(false);
  });

  test("while another process holds the lock of the download", async () => {
    const lock = join(cache(), ".locks", "models--test--ready", `${sha256(tiny)}.bitnet.lock`);
    await withLock(lock, {}, async () => {
      const setup = startSetup(["-hr", "test/ready"]);
      await setup.until((stderr) => stderr.includes("another process is downloading it; waiting"));
      setup.kill("SIGINT");
      expect(await setup.end).toMatchObject({ status: 130, signal: null });
    });
  });

  test("while a proxy says nothing", async () => {
    let connected = false;
    const proxy = createServer(() => {
      connected = true;
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    env = { ...env, HF_ENDPOINT: "https://hub.example" };
    env.https_proxy = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const setup = startSetup(["-hr", "test/ready"]);
    await setup.until(() => connected);
    setup.kill("SIGINT");
    expect(await setup.end).toMatchObject({ status: 130, signal: null });
    proxy.close();
  });
});

interface RunningSetup {
  kill: (signal: NodeJS.Signals) => void;
  /** Comes when the condition holds, which may look at what stderr has said; fails if the process ends before. */
  until: (condition: (stderr: string) => boolean) => Promise<void>;
  end: Promise<ProcessResult>;
}

function startSetup(args: string[]): RunningSetup {
  const bin = join(root, "bin", "bitnet.js");
  const child = spawn(process.execPath, [bin, "setup-env", "-md", models(), "-ld", join(folder, "logs"), ...args], {
    env: { ...process.env, ...env },
  });
  started.push(child);
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => {
    stdout += text;
  });
  child.stderr.on("data", (text) => {
    stderr += text;
  });
  const end = new Promise<ProcessResult>((resolve) => {
    child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
  const until = async (condition: (stderr: string) => boolean) => {
    while (!condition(stderr)) {
      expect({ ended: child.exitCode ?? child.signalCode, stderr }).toMatchObject({ ended: null });
      await delay(5);
    }
  };
  return { kill: (signal) => child.kill(signal), until, end };
}

describe("bitnet setup-env with a checkpoint", () => {
  const packed = join(root, "test", "fixtures", "tiny-bitnet-packed");
  const checkpoint = () =>
    Object.fromEntries(readdirSync(packed).map((name) => [name, readFileSync(join(packed, name))]));
  const { prompts } = JSON.parse(readFixture("tiny-bitnet", "reference.json").toString());
  const expected: string = prompts.find(({ name }: { name: string }) => name === "plain_story").packed.greedy_text;

  async function expectStory(path: string, options: string[] = []): Promise<void> {
    const story = await runBitnet([
      "run",
      "-m",
      path,
      "-p",
      "Once upon a time",
      "-n",
      "12",
      "-temp",
      "0",
      "--quiet",
      "--no-display-prompt",
      ...options,
    ]);
    expect(story).toMatchObject({ status: 0 });
    expect(story.stdout.length).toBeGreaterThan(20);
    expect(expected.slice(0, story.stdout.trimEnd().length)).toBe(story.stdout.trimEnd());
  }

  test("downloads it, converts it, verifies it, and the model tells the reference's story", async () => {
    fake.repositories.set("test/tiny", {
      files: { ...checkpoint(), "training.log": "not needed", "optimizer.bin": "nor this" },
    });
    const { status, stdout, stderr } = await run("setup-env", ["-hr", "test/tiny"]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stderr).toMatch(/weights: \d+ of -1, \d+ of 0, \d+ of \+1; read back and verified/);
    const path = join(models(), "tiny", "ggml-model-i2_s.gguf");
    expect(stdout).toMatch(/^bitnet run -m /);
    expect(readdirSync(join(models(), "tiny"))).toEqual(["ggml-model-i2_s.gguf", "ggml-model-i2_s.gguf.json"]);
    expect(readdirSync(join(folder, "logs")).sort()).toEqual([
      "convert_to_i2_s.log",
      "download_model.log",
      "setup.log",
    ]);
    expect(fake.seen.some(({ path: asked }) => /training|optimizer/.test(asked))).toBe(false);
    await expectStory(path);

    fake.seen.length = 0;
    const again = await run("setup-env", ["-hr", "test/tiny"]);
    expect(again).toMatchObject({ status: 0, stderr: expect.stringMatching(/already exists/) });
    expect(fake.seen).toEqual([]);
  });

  test.each(["tl1", "tl2", "tq1_0", "tq2_0", "bf16"])("makes %s, which tells the same", async (type) => {
    fake.repositories.set("test/tiny", { files: checkpoint() });
    const config = join(root, "test", "fixtures", "golden", `${type}-kernel_config.ini`);
    const tiles = type.startsWith("tl") ? ["--kernel-config", config] : [];
    const { status, stdout, stderr } = await run("setup-env", ["-hr", "test/tiny", "-q", type, ...tiles]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).not.toContain("--kernel-config"); // the file says its tiles
    await expectStory(join(models(), "tiny", `ggml-model-${type}.gguf`));
  });

  test.each(["tl1", "tl2"])("makes %s of any shape without a kernel_config.ini, and writes one", async (type) => {
    fake.repositories.set("test/tiny", { files: checkpoint() });
    const { status, stderr } = await run("setup-env", ["-hr", "test/tiny", "-q", type, "--quant-embd", "q6_k"]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(existsSync(join(models(), "tiny", "kernel_config.ini"))).toBe(true);
    await expectStory(join(models(), "tiny", `ggml-model-${type}.gguf`));
  });

  test("refuses a type that a matrix cannot have before any weight is downloaded", async () => {
    const files = checkpoint();
    const config = JSON.parse(String(files["config.json"]));
    files["config.json"] = Buffer.from(JSON.stringify({ ...config, intermediate_size: 5460 }));
    fake.repositories.set("test/tiny", { files });
    for (const [command, ...args] of [
      ["setup-env", "-hr", "test/tiny", "-q", "tl2"],
      ["convert", "test/tiny", "--outtype", "tl1"],
    ]) {
      fake.seen.length = 0;
      const { status, stderr } = await runBitnet([command ?? "", ...args], { env });
      expect(status).toBe(1);
      expect(stderr).toMatch(/blk\.0\.ffn_gate\.weight: no TL\d tiles fit a matrix of 5460 x 256: its rows/);
      expect(fake.seen.filter(({ path }) => /safetensors|tokenizer/.test(path))).toEqual([]);
    }
  });

  test("converts when the published file has another embedding than is wanted", async () => {
    fake.repositories.set("test/tiny", { files: { ...checkpoint(), "ggml-model-i2_s.gguf": tiny } });
    const { status, stdout, stderr } = await run("setup-env", ["-hr", "test/tiny", "--quant-embd", "q8_0", "--json"]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stderr).toMatch(/not using test\/tiny\/ggml-model-i2_s\.gguf: the embedding is \w+, not q8_0/);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      origin: "converted",
      commit: fake.commitOf("test/tiny"),
      report: { typeHistogram: { Q8_0: 1 } },
    });
  });

  test("converts a published file of another type where there is no checkpoint", async () => {
    const { status, stderr } = await run("setup-env", ["-hr", "test/ready", "-q", "tq2_0"]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    await expectStory(join(models(), "ready", "ggml-model-tq2_0.gguf"));
  });

  test("works on a folder without the hub", async () => {
    const local = join(folder, "my model");
    cpSync(packed, local, { recursive: true });
    const args = ["setup-env", "-md", local, "-ld", join(folder, "logs")];
    const { status, stdout, stderr } = await runBitnet(args, { env });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).toContain(`bitnet run -m '${join(local, "ggml-model-i2_s.gguf")}'`);
    expect(fake.seen).toEqual([]);
    await expectStory(join(local, "ggml-model-i2_s.gguf"));
  });

  test("a shard that the index names but the repository lacks is an error before anything is converted", async () => {
    const index = { weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" } };
    const files: Record<string, Buffer | string> = {
      ...checkpoint(),
      "model.safetensors.index.json": JSON.stringify(index),
    };
    files["model-00001-of-00002.safetensors"] = files["model.safetensors"] ?? "";
    fake.repositories.set("test/tiny", { files });
    const { status, stderr } = await run("setup-env", ["-hr", "test/tiny"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/error: test\/tiny holds no model-00002-of-00002\.safetensors/);
    expect(existsSync(models())).toBe(false);
  });
});

describe("bitnet setup-env refuses", () => {
  const llama = {
    architectures: ["LlamaForCausalLM"],
    hidden_size: 256,
    intermediate_size: 512,
    num_attention_heads: 4,
    num_hidden_layers: 2,
    vocab_size: 1000,
  };
  const index = { "model.safetensors.index.json": "{}" };
  const config = (value: unknown) => ({
    "config.json": JSON.stringify(value),
    "model.safetensors": Buffer.alloc(1000),
  });
  test.each([
    ["a model that is not ternary", config(llama), /no ternary model.*LlamaForCausalLM/],
    [
      "a ternary model's index without files",
      { ...config({ ...llama, model_type: "bitnet" }), ...index },
      /no weight_map/,
    ],
    ["a config.json that is none", { ...config({}), "config.json": "<html>" }, /config\.json: not valid JSON/],
    ["a repository without a model", { "README.md": "hello" }, /no weights of a model/],
    ["weights without config.json", { "model.safetensors": "x" }, /no weights of a model/],
    ["a GGUF file that is none", { "ggml-model-i2_s.gguf": "no model".repeat(1000) }, /not a GGUF|magic/i],
  ])("%s, and leaves nothing", async (_, files, message) => {
    fake.repositories.set("test/bad", { files });
    const { status, stdout, stderr } = await run("setup-env", ["-hr", "test/bad"]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr.match(/^error: /gm)).toHaveLength(1);
    expect(existsSync(join(models(), "bad"))).toBe(false);
    expect(fake.seen.some(({ path }) => path.endsWith("model.safetensors"))).toBe(false);
  });

  test.each([
    ["-hr test/nothing", /there is no repository test\/nothing/],
    ["-md /nowhere/model", /no model directory \/nowhere\/model/],
  ])("%s", async (line, message) => {
    const { status, stderr } = await run("setup-env", line.split(" "));
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^hint: /m);
  });

  test.each([
    ["-q q9", /q9/],
    ["-hr a/b --quant-embd x9", /x9/],
    ["-hr nonsense", /"nonsense" is not the name of a repository/],
    ["falcon-e-1", /did you mean falcon-e-1b\?/],
    ["hf:nonsense", /hf:nonsense is no model of the hub/],
    ["-hr a/b c/d", /expected one of -hr and a model as an argument/],
    ["a/b:tl1 -q tl2", /name two types/],
    ["https://example.com/a/b", /is not the hub/],
  ])("%s as a wrong argument", async (line, message) => {
    const { status, stderr } = await run("setup-env", line.split(" "));
    expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringMatching(message) });
  });

  test("to guess a model", async () => {
    expect(await runBitnet(["setup-env"], { env })).toMatchObject({ status: 2, stderr: expect.stringMatching(/-hr/) });
  });

  test("a registered -p in front of other options does not swallow them", async () => {
    expect(await run("setup-env", ["-p", "-hr", "nonsense"])).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/"nonsense" is not/),
    });
  });
});

describe("bitnet list and rm", () => {
  async function list(): Promise<{ name: string; where: string; path: string; type: string; bytes: number }[]> {
    const { status, stdout } = await run("list", ["--json"]);
    expect(status).toBe(0);
    return JSON.parse(stdout);
  }

  function addCheckpoint(repo: string, config: unknown): void {
    const snapshot = join(cache(), `models--${repo.replace("/", "--")}`, "snapshots", "ab".repeat(20));
    mkdirSync(snapshot, { recursive: true });
    writeFileSync(join(snapshot, "config.json"), JSON.stringify(config));
    writeFileSync(join(snapshot, "model.safetensors"), "weights");
  }

  test("show what is in the model directory and the cache, and nothing of other models", async () => {
    expect(await list()).toEqual([]);
    await setupReady();
    addCheckpoint("test/ternary", { model_type: "bitnet" });
    addCheckpoint("test/floats", { model_type: "llama" });
    mkdirSync(join(models(), "mine"));
    writeFileSync(join(models(), "mine", "broken.gguf"), "x");
    expect((await list()).map(({ name, where, type, bytes }) => [name, where, type, bytes])).toEqual([
      ["mine", "models", "damaged", 1],
      ["ready", "models", "I2_S", tiny.length],
      ["test/ready", "cache", "I2_S", tiny.length],
      ["test/ternary", "cache", "safetensors", expect.any(Number)],
    ]);
    const { stdout } = await run("list", []);
    expect(stdout.split("\n")[0]).toMatch(/^NAME +TYPE +SIZE +MODIFIED +WHERE$/);
    expect(stdout.split("\n")[2]).toMatch(/^ready +I2_S +[\d.]+ MB +\d{4}-\d\d-\d\d +\S*models$/);
    expect(stdout).toMatch(/^4 models, [\d.]+ MB \(1 shares its bytes with another\)$/m);
    expect((await run("list", ["--paths"])).stdout).toMatch(/^ready .*\/ready\/ggml-model-i2_s\.gguf$/m);
  });

  test("delete a model by name, and only its files", async () => {
    const path = await setupReady();
    cpSync(path, join(models(), "ready", "ggml-model-tl2.gguf"));
    writeFileSync(join(models(), "ready", "notes.txt"), "mine");
    const { status, stdout } = await run("rm", ["ready", "--yes", "--json"]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout).deleted).toHaveLength(2);
    expect(readdirSync(join(models(), "ready"))).toEqual(["notes.txt"]);
    expect((await list()).map(({ name }) => name)).toEqual(["test/ready"]);
  });

  test("delete one file by path, then the folder that is empty", async () => {
    const path = await setupReady();
    expect(await run("rm", [path, "-y"])).toMatchObject({ status: 0, stdout: "" });
    expect(existsSync(join(models(), "ready"))).toBe(false);
    expect(existsSync(models())).toBe(true);
  });

  test("take a model out of the cache with its blobs, but not what another revision uses", async () => {
    await setupReady();
    const folders = join(cache(), "models--test--ready");
    const other = join(folders, "snapshots", "cd".repeat(20));
    cpSync(join(folders, "snapshots", fake.commitOf("test/ready")), other, { recursive: true, verbatimSymlinks: true });
    const [first] = (await list()).filter(({ where }) => where === "cache");
    expect(await run("rm", [first?.path ?? "", "--yes"])).toMatchObject({ status: 0 });
    expect(readdirSync(join(folders, "blobs"))).toEqual([sha256(tiny)]);
    expect(realpathSync(join((await list()).find(({ where }) => where === "cache")?.path ?? ""))).toContain("blobs");

    expect(await run("rm", ["test/ready", "--yes"])).toMatchObject({ status: 0 });
    expect(existsSync(folders)).toBe(false);
    expect((await list()).map(({ name }) => name)).toEqual(["ready"]);
  });

  test("ask first, and do nothing where nobody can answer", async () => {
    const path = await setupReady();
    const { status, stderr } = await run("rm", ["ready"]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/no terminal to ask.*\nhint: add --yes/);
    expect(existsSync(path)).toBe(true);
  });

  test("know no other names", async () => {
    await setupReady();
    writeFileSync(join(folder, "precious.gguf"), "x");
    for (const name of ["redy", join(folder, "precious.gguf"), folder, models(), "..", ""]) {
      expect(await run("rm", [name, "--yes"]), name).toMatchObject({ status: 1 });
    }
    expect((await run("rm", ["redy", "--yes"])).stderr).toMatch(/hint: did you mean ready\?/);
    expect(readdirSync(folder)).toContain("precious.gguf");
    expect(await list()).toHaveLength(2);
  });
});

const python = ["python3", "python"].find((name) => spawnSync(name, ["-c", "import pty"]).status === 0);

describe.runIf(python !== undefined)("on a terminal", () => {
  const play = (steps: object[], ...args: string[]) => playAlone(steps, ...args, "-md", models());

  async function playAlone(steps: object[], ...args: string[]) {
    const script = join(root, "test", "support", "play-terminal.py");
    const command = [script, JSON.stringify(steps), process.execPath, join(root, "bin", "bitnet.js"), ...args];
    const { stdout } = await promisify(execFile)(python ?? "python3", command, {
      env: { ...process.env, ...env, TERM: "xterm", NO_COLOR: "1" },
    });
    return JSON.parse(stdout) as { output: string; status: number; missing: string | null };
  }

  test("setup-env shows a bar for its file", async () => {
    fake.pieceBytes = 16_384;
    fake.pieceDelayMs = 30; // some seconds, so that the bar is drawn on its way
    const { output, status } = await play([], "setup-env", "-hr", "test/ready", "-ld", join(folder, "logs"));
    expect({ status, output }).toMatchObject({ status: 0 });
    expect(output).toMatch(/ggml-model-i2_s +█+░+ +\d+% .* of 1\.93 MB .*B\/s .*ETA /);
    expect(output).not.toMatch(/total|downloading/); // one file, one bar
    expect(output).toMatch(/GGUF model saved at/);
  });

  test("Ctrl-C in a download says how to go on, and leaves no lock", async () => {
    fake.pieceBytes = 4096;
    fake.pieceDelayMs = 50; // half a minute, of which little is waited for
    const steps = [{ wait: "ETA", signal: "SIGINT" }];
    const { output, status } = await play(steps, "setup-env", "-hr", "test/ready", "-ld", join(folder, "logs"));
    expect({ status, output }).toMatchObject({ status: 130 });
    expect(output).toMatch(/note:.* stopped; the same command continues where it stopped/);
    expect(readdirSync(folder, { recursive: true }).filter((name) => /\.lock$/.test(String(name)))).toEqual([]);
  });

  test.each([
    [
      "logits",
      ["-p", "Once", "--top", "2"],
      /position 1, after 772 "Once"\r\n +ID +LOGIT +TOKEN\r\n +\d+ +-?\d+\.\d{3} +" /,
    ],
    ["logits", ["-p", "Once", "--top", "2", "--json"], /^\{"model":.*"piece":/],
    ["tokenize", ["Once"], / 772 +"Once"\r\n\r\n\[2045, 772\]\r\n2 tokens/],
    ["tokenize", ["Once", "--json"], /^\[2045,772\]\r\n$/],
  ])("%s %j is for people, with --json for programs", async (command, args, shown) => {
    expect((await playAlone([], command, "-m", tinyModel, ...args)).output).toMatch(shown);
  });

  test.each([
    ["y", 0, false],
    ["n", 1, true],
    ["", 1, true],
  ])("rm asks, and after %j ends with %d", async (answer, status, kept) => {
    const path = await setupReady();
    const result = await play([{ wait: "[y/N]", send: `${answer}\r` }], "rm", "ready");
    expect(result).toMatchObject({ status, missing: null });
    expect(existsSync(path)).toBe(kept);
  });
});

describe("bitnet inspect", () => {
  test("reads a file of the hub without downloading it", async () => {
    const { status, stdout, stderr } = await runBitnet(["inspect", "test/ready", "--file", "ggml-model-i2_s.gguf"], {
      env,
    });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).toMatch(/architecture +bitnet-b1\.58/);
    expect(fake.sent).toBe(2 ** 20);
    expect(existsSync(cache())).toBe(false);
  });
});
