// Names of models on command lines: each command takes what list prints, short names and repositories.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readGguf, writeSplit } from "../support/edit-gguf.js";
import { FakeHub } from "../support/fake-hub.js";
import { type ProcessResult, runBitnet, tinyModel } from "../support/fixtures.js";

const tiny = readFileSync(tinyModel);

let fake: FakeHub;
let folder: string;
beforeEach(async () => {
  fake = await FakeHub.start();
  fake.repositories.set("me/tiny", { files: { "ggml-model-i2_s.gguf": tiny, "sub/other.GGUF": tiny } });
  fake.repositories.set("microsoft/BitNet-b1.58-2B-4T", { files: { "config.json": "{}", "model.safetensors": "x" } });
  fake.repositories.set("microsoft/BitNet-b1.58-2B-4T-gguf", { files: { "ggml-model-i2_s.gguf": tiny } });
  folder = mkdtempSync(join(tmpdir(), "bitnet-names-"));
});
afterEach(async () => {
  await fake.stop();
  rmSync(folder, { recursive: true });
});

const models = () => join(folder, "models");

function run(line: string, env: NodeJS.ProcessEnv = {}): Promise<ProcessResult> {
  const args = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain = ""]) => quoted ?? plain);
  return runBitnet(args, {
    cwd: folder, // whose models/ is the user's folder
    env: {
      BITNET_MODELS: models(),
      HF_HOME: join(folder, "hf"),
      HF_HUB_CACHE: "",
      HF_HUB_OFFLINE: "",
      HF_ENDPOINT: fake.url,
      no_proxy: "127.0.0.1",
      ...env,
    },
  });
}

async function pull(): Promise<void> {
  const { status, stderr } = await run("pull me/tiny --quiet");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
}

const few = "-n 3 -temp 0 -no-cnv";

describe("bitnet run", () => {
  test("downloads a known model at its first use, after saying how much that is, and not again", async () => {
    const first = await run(`run 2b "Once upon a time" ${few}`);
    expect(first).toMatchObject({ status: 0, stdout: expect.stringMatching(/^Once upon a time, there/) });
    expect(first.stderr).toMatch(
      /note: microsoft\/BitNet-b1\.58-2B-4T-gguf is not on this machine: 1\.93 MB to download/,
    );
    expect(readdirSync(models())).toEqual(["BitNet-b1.58-2B-4T"]);
    fake.seen.length = 0;
    for (const name of ["2b", "2b:i2_s", "BitNet-b1.58-2B-4T", "-m 2b", "-hf microsoft/BitNet-b1.58-2B-4T:i2_s"]) {
      const again = await run(`run ${name} "Once upon a time" ${few}`);
      expect(again, name).toMatchObject({ status: 0, stdout: first.stdout });
      expect(again.stderr, name).not.toMatch(/download/);
    }
    expect(fake.seen).toEqual([]);
  });

  test("takes a certain file of a repository", async () => {
    const lines = ["-hf me/tiny --hf-file sub/other.GGUF", `${fake.url}/me/tiny/blob/main/sub/other.GGUF`];
    for (const line of lines) {
      expect(await run(`run ${line} "Once upon a time" ${few} --quiet`)).toMatchObject({ status: 0 });
    }
    expect(readdirSync(join(models(), "tiny"))).toEqual(["sub--other.GGUF", "sub--other.GGUF.json"]);
  });

  test("says so offline, when there is nothing", async () => {
    const { status, stderr } = await run(`run me/tiny "Once" ${few}`, { HF_HUB_OFFLINE: "1" });
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringMatching(/error: me\/tiny@main is not in the cache, and HF_HUB_OFFLINE is set\nhint: unset/),
    });
    expect(existsSync(models())).toBe(false);
  });

  test.each([
    ["-m a/b/c", 2, /neither a file that is there nor the name of a repository/],
    ["-m me/tiny:q4_k_m", 2, /a model has no type q4_k_m/],
    ["--hf-file x.gguf", 2, /--hf-file needs -hf/],
    ["-m models/nowhere.gguf", 1, /models\/nowhere\.gguf: no such file or directory\nhint: /],
    ["-m falcon-e-1", 1, /no model is called falcon-e-1\nhint: did you mean falcon-e-1b\?/],
    ["-m embedding-270m", 1, /microsoft\/bitnet-embedding-270m cannot be run: it makes embeddings/],
  ])("%s is an error with %d", async (line, status, message) => {
    const result = await run(`run ${line} -p x`);
    expect(result).toMatchObject({ status, stdout: "", stderr: expect.stringMatching(message) });
    expect(result.stderr).toMatch(/^(error|note): /);
  });
});

test.each([
  ["inspect tiny", /bitnet-b1\.58/],
  ["show me/tiny", /bitnet-b1\.58/],
  ["inspect -m tiny:i2_s", /bitnet-b1\.58/],
  ['tokenize -m tiny "Once"', /^\[[\d,]+\]\n$/],
  ['tokenize tiny "Once"', /^\[[\d,]+\]\n$/],
  ["logits tiny --ids 1", /top/],
  ["logits -m me/tiny --ids 1", /top/],
  ["bench tiny -p 4 -n 2 -r 1 --no-warmup --no-roofline -o json", /results/],
  ["bench -m tiny,me/tiny -p 4 -n 2 -r 1 --no-warmup --no-roofline -o json", /results/],
])("bitnet %s", async (line, output) => {
  await pull();
  const { status, stdout, stderr } = await run(line);
  expect({ status, stderr, stdout }).toMatchObject({ status: 0, stdout: expect.stringMatching(output) });
});

test("inspect reads a file of the hub without downloading it, whatever the case of its name", async () => {
  fake.repositories.set("me/upper", { files: { "X.GGUF": tiny } });
  for (const line of ["inspect me/upper", "inspect hf:me/upper", `inspect ${fake.url}/me/upper/blob/main/X.GGUF`]) {
    expect(await run(line)).toMatchObject({ status: 0, stdout: expect.stringMatching(/bitnet-b1\.58/) });
  }
  expect(existsSync(join(folder, "hf"))).toBe(false);
});

test("convert takes a name as its source", async () => {
  await pull();
  const out = join(folder, "out.gguf");
  expect(await run(`convert tiny --outtype tq2_0 --outfile ${out}`)).toMatchObject({ status: 0, stdout: `${out}\n` });
});

test("pull writes no logs, knows models that are set up by their names, and has a type after the colon", async () => {
  expect(await run("pull me/tiny@main:I2_S")).toMatchObject({ status: 0 });
  expect(await run("setup-env tiny")).toMatchObject({ status: 0, stderr: expect.stringMatching(/already exists/) });
  expect(existsSync(join(folder, "logs"))).toBe(false);
  expect(await run("pull me/tiny:tq2_0 --json")).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/"origin":"converted".*"type":"tq2_0"|"type":"tq2_0".*"origin":"converted"/),
  });
});

test("cp gives a model a second name that remembers where it came from", async () => {
  await pull();
  const { status, stdout, stderr } = await run("cp tiny mine");
  expect({ status, stdout, stderr }).toEqual({
    status: 0,
    stdout: `${join(models(), "mine", "ggml-model-i2_s.gguf")}\n`,
    stderr: expect.stringMatching(/takes no space/),
  });
  const listed = JSON.parse((await run("list --json")).stdout) as { name: string; repository?: string }[];
  expect(listed.map(({ name, repository }) => [name, repository])).toEqual([
    ["mine", "me/tiny"],
    ["tiny", "me/tiny"],
    ["me/tiny", "me/tiny"],
  ]);
  expect(await run("cp tiny mine")).toMatchObject({ status: 2, stderr: expect.stringMatching(/mine:i2_s already/) });
  expect(await run("cp tiny ../mine")).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/cannot be the name/),
  });
});

test("a model in several files is one model: listed once, run, copied and deleted by its name", async () => {
  mkdirSync(join(models(), "parts"), { recursive: true });
  writeSplit(join(models(), "parts"), "mini-i2_s", readGguf(tinyModel), 3);
  writeSplit(models(), "loose", readGguf(tinyModel), 2);
  const listed = JSON.parse((await run("list --json")).stdout) as { name: string; type: string; files: string[] }[];
  expect(listed.map(({ name, type, files }) => [name, type, files.length])).toEqual([
    ["loose", "I2_S", 2],
    ["parts", "I2_S", 3],
  ]);
  expect(await run("cp parts mine")).toMatchObject({ status: 0 });
  for (const name of ["parts", "mine", "loose", "mine:i2_s"]) {
    expect(await run(`run ${name} "Once upon a time" ${few}`), name).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^Once upon a time, there/),
    });
  }
  expect(await run("rm parts mine loose --yes")).toMatchObject({ status: 0 });
  expect(readdirSync(models())).toEqual([]);
});

test("files of one name and type are listed with their file, and that is a name, too", async () => {
  fake.repositories.set("me/two", { files: { "ggml-model-i2_s.gguf": tiny, "other-i2_s.gguf": readOther() } });
  await run("pull me/two");
  await run(`pull ${fake.url}/me/two/blob/main/other-i2_s.gguf`);
  const { stdout } = await run("list");
  for (const name of ["two/ggml-model-i2_s.gguf", "two/other-i2_s.gguf", "me/two/other-i2_s.gguf"]) {
    expect(stdout).toContain(name);
    expect(await run(`inspect ${name}`), name).toMatchObject({ status: 0 });
  }
  expect(await run("inspect two")).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/hint: name one: two\/ggml-model-i2_s\.gguf, two\/other-i2_s\.gguf/),
  });
  expect(await run(`run me/two "Once upon a time" ${few}`)).toMatchObject({ status: 0 }); // the usual one
  expect(await run("rm two/other-i2_s.gguf --yes")).toMatchObject({ status: 0 });
  expect(await run("inspect two")).toMatchObject({ status: 0 });
});

/** Another model of the same type. */
function readOther(): Buffer {
  return Buffer.concat([tiny, Buffer.alloc(32)]);
}

test.each([
  ["pull 2b", "bitnet run 2b"],
  ["pull me/tiny", "bitnet run tiny"],
  ["pull me/tiny -md elsewhere", '-m elsewhere/tiny/ggml-model-i2_s.gguf -p "You are a helpful assistant" -cnv'],
])("%s says what to type next: %s", async (line, next) => {
  expect(await run(line)).toMatchObject({ status: 0, stdout: expect.stringMatching(`(^|bitnet run )${next}\n$`) });
});

test("pull names the type where the name has several", async () => {
  await pull();
  expect(await run("pull me/tiny:tl1")).toMatchObject({ status: 0, stdout: "bitnet run tiny:tl1\n" });
});

test("a model that is to chat, but has nobody who talks, ends with an error", async () => {
  await pull();
  const { status, stderr } = await run("run tiny");
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(/^error: there is no prompt\nhint: /),
  });
});

test.each(["run llama3.2:1b x", "inspect llama3.2:1b"])("%s: tags of other programs are no types", async (line) => {
  expect(await run(line)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^error: no model is called llama3\.2:1b\n/),
  });
});

test("inspect finds what the makers of a known model publish, and names what takes the place of a file", async () => {
  expect(await run("show 2b")).toMatchObject({ status: 0, stdout: expect.stringMatching(/bitnet-b1\.58/) });
  fake.repositories.set("me/checkpoint", { files: { "config.json": "{}", "model.safetensors": "x" } });
  expect(await run("show me/checkpoint")).toMatchObject({
    stderr: expect.stringMatching(/holds no GGUF file\nhint: bitnet pull me\/checkpoint makes one/),
  });
  expect(await run("show me/tiny:tl2")).toMatchObject({
    stderr: expect.stringMatching(/me\/tiny holds no TL2 GGUF file/),
  });
});

test("a folder that cannot hold models is named", async () => {
  const { status, stderr } = await run("pull me/tiny", { BITNET_MODELS: tinyModel });
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringMatching(/cannot hold models: something of that name is there already\nhint: .*BITNET_MODELS/),
  });
});

describe("bitnet rm", () => {
  test("takes short names and repositories, too", async () => {
    await pull();
    await run("pull 2b");
    expect(await run("rm 2b hf:me/tiny --yes")).toMatchObject({ status: 0 });
    expect(readdirSync(models())).toEqual([]);
    expect(await run("rm 2b --yes")).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/no model is called 2b/),
    });
  });

  test("deletes no model of two owners by the name that both have", async () => {
    fake.repositories.set("other/tiny", { files: { "ggml-model-i2_s.gguf": tiny } });
    await run("run me/tiny x -n 1");
    await run("run other/tiny x -n 1");
    await run("rm tiny other--tiny --yes");
    const { status, stderr } = await run("rm tiny --yes");
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringMatching(/tiny is the name of several models\nhint: name one: me\/tiny other\/tiny/),
    });
  });

  test("deletes tile sizes that were written beside a model, but not a user's own", async () => {
    await run("pull me/tiny:tl1");
    await run("pull me/tiny:tl2");
    await run("rm tiny:tl1 --yes");
    expect(readdirSync(join(models(), "tiny")).filter((name) => name.endsWith(".ini"))).not.toEqual([]);
    await run("rm tiny:tl2 --yes");
    expect(readdirSync(models())).toEqual([]);

    await run("pull me/tiny:tl1");
    writeFileSync(join(models(), "tiny", "kernel_config.ini"), "[Kernels_0]\n");
    await run("rm tiny --yes");
    expect(readdirSync(join(models(), "tiny"))).toEqual(["kernel_config.ini"]);
  });

  test("tells which name the bytes still have, and counts no space that is not free", async () => {
    await pull();
    expect(await run("rm me/tiny --yes")).toMatchObject({
      stderr: expect.stringMatching(/deleted 1 file, 0 B freed\nthe same bytes are still there as tiny\n$/),
    });
  });

  test("takes several names, and says what the cache still holds", async () => {
    await pull();
    await run("cp tiny mine");
    const { status, stderr } = await run("rm tiny mine:i2_s --yes");
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(
        /deleted 2 files, 0 B freed\nthe cache of the hub still holds 1\.93 MB of it; to delete that, too: bitnet rm me\/tiny\n$/,
      ),
    });
    expect(readdirSync(models())).toEqual([]);
    expect(await run("rm me/tiny --yes")).toMatchObject({ stderr: expect.stringMatching(/1\.93 MB freed/) });
  });

  test("deletes that, too, with --cache", async () => {
    await pull();
    const { stderr } = await run("rm tiny --yes --cache");
    expect(stderr).toMatch(/deleted 2 files, 1\.93 MB freed\n$/);
    expect(await run("list --json")).toMatchObject({ stdout: "[]\n" });
  });

  test("deletes nothing if one of the names is unknown", async () => {
    await pull();
    expect(await run("rm tiny nothing-like-it --yes")).toMatchObject({ status: 1 });
    expect(existsSync(join(models(), "tiny", "ggml-model-i2_s.gguf"))).toBe(true);
  });
});

test("list has a header and a total, and counts bytes once that have two names", async () => {
  await pull();
  for (const name of ["模型", "b"]) {
    mkdirSync(join(models(), name), { recursive: true });
    copyFileSync(tinyModel, join(models(), name, "ggml-model-i2_s.gguf"));
  }
  const { stdout } = await run("list");
  const [header = "", ...rows] = stdout.split("\n");
  expect(header).toMatch(/^NAME +TYPE +SIZE +MODIFIED +WHERE$/);
  expect(rows.find((row) => row.startsWith("模型"))).toMatch(/I2_S +1\.93 MB +\d{4}-\d\d-\d\d +\S*models$/);
  expect(rows.find((row) => row.startsWith("me/tiny"))).toMatch(/cache of the hub$/);
  expect(stdout).toMatch(/\n\n4 models, 5\.78 MB \(1 shares its bytes with another\)\n$/);
  expect(JSON.parse((await run("list --json")).stdout)).toHaveLength(4);
});
