// The commands that measure a model on a text, as users and scripts of llama.cpp type them.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findFixture, runBitnet, tinyModel } from "../support/fixtures.js";

const text = findFixture("eval", "text.txt") ?? "";
const tasks = (name: string) => findFixture("eval", `tasks/${name}`) ?? "";
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-eval-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("bitnet eval perplexity", () => {
  test("prints what scripts look for on stdout and running values on stderr, under llama-perplexity's name and options", async () => {
    const { status, stdout, stderr } = await runBitnet([
      ...["llama-perplexity", "-m", tinyModel, "-f", text, "-c", "128", "-b", "128", "-ngl", "0", "--chunks", "24"],
      ...["--kl-divergence-base", join(folder, "base.kld"), "--expect", "8.24"],
    ]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Final estimate: PPL = 8\.2\d\d\d \+\/- 0\.\d{5}$/m);
    expect(stdout).toMatch(/^24 windows of 128 tokens, kernel \w+, f16 cache$/m);
    expect(stderr).toMatch(/^5812 tokens, 24 windows of 128; .* will take 6\.23 MB$/m);
    expect(stderr).toMatch(/^\[1\]\d+\.\d{4},\[2\]/m);

    const compared = await runBitnet([
      ...["eval", "perplexity", tinyModel, "--kl-divergence-base", join(folder, "base.kld"), "--kl-divergence"],
    ]);
    expect(compared.status).toBe(0);
    expect(compared.stdout).toMatch(/^ {2}PPL\(base\) +8\.2/m);
    expect(compared.stdout).toMatch(/^ {2}share {2}100\.000/m);
    expect(compared.stderr).toMatch(/^chunk\tPPL/);

    const places = await runBitnet([
      "eval",
      "kl",
      tinyModel,
      "--base",
      join(folder, "base.kld"),
      "--top",
      "2",
      "--json",
    ]);
    expect(places.status).toBe(0);
    const report = JSON.parse(places.stdout);
    expect(report).toMatchObject({ isBaseExact: true, scored: 1512, chunks: 24 });
    expect(report.top).toHaveLength(2);
  });

  test("exits with 1 where the result is not the expected one, and where the text is too short", async () => {
    const off = await runBitnet([
      ...[
        "eval",
        "perplexity",
        "-m",
        tinyModel,
        "-f",
        text,
        "-c",
        "128",
        "--chunks",
        "24",
        "--expect",
        "99.8",
        "--quiet",
      ],
    ]);
    expect(off.status).toBe(1);
    expect(off.stdout).toContain("Final estimate");
    expect(off.stderr).toMatch(/^error: the perplexity is 8\.\d+, off by -91\.\d % from 99\.8$/m);
    const short = join(folder, "short.txt");
    writeFileSync(short, "Once upon a time\n");
    const refused = await runBitnet(["eval", "perplexity", "-f", short]);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatch(/has \d+ tokens, but a context of 512 needs at least 1024/);
  });

  test("has a line for every window with output type 1, also with a stride", async () => {
    const run = (...args: string[]) =>
      runBitnet([
        "eval",
        "perplexity",
        "-m",
        tinyModel,
        "-f",
        text,
        "-c",
        "128",
        "--chunks",
        "3",
        "--ppl-output-type",
        "1",
        ...args,
      ]);
    const plain = await run();
    expect(
      plain.stdout
        .split("\n")
        .slice(0, 3)
        .map((line) => line.slice(0, 10)),
    ).toEqual(["       0  ", "     128  ", "     256  "]);
    expect(plain.stdout).toMatch(/^ {5}128 {2}\d+\.\d{4} {2}\d+\.\d{6} {2}\d+\.\d{6}$/m);
    expect((await run("--ppl-stride", "64")).stdout).toMatch(/^ {6}64 {2}/m);
  });

  test("scores the choices of llama.cpp's files", async () => {
    const winogrande = await runBitnet([
      "eval",
      "perplexity",
      "-m",
      tinyModel,
      "-f",
      tasks("winogrande.csv"),
      "--winogrande",
    ]);
    expect(winogrande.stdout).toMatch(/^Final winogrande score \(10 tasks\): 70\.0000 \+\/- 15\.2753$/m);
    const limited = ["-m", tinyModel, "-f", tasks("hellaswag.txt"), "--hellaswag", "--hellaswag-tasks", "4", "--json"];
    const hellaswag = await runBitnet(["eval", "perplexity", ...limited]);
    expect(JSON.parse(hellaswag.stdout)).toMatchObject({ kind: "hellaswag", rules: "llama.cpp" });
    expect(JSON.parse(hellaswag.stdout).tasks).toHaveLength(4);
    const binary = await runBitnet([
      "eval",
      "perplexity",
      "-m",
      tinyModel,
      "-bf",
      tasks("arc.bin"),
      "--multiple-choice",
    ]);
    expect(binary.stdout).toMatch(/^random chance: 25\.6410 \+\/- 14\.5550$/m);
  });

  test("refuses command lines that mean nothing, and base files that are cut, in one line", async () => {
    for (const args of [
      ["perplexity"],
      ["perplexity", "-f", text, "--hellaswag", "--winogrande"],
      ["perplexity", "--kl-divergence"],
      ["kl"],
      ["kl", "--base", "a", "--base-model", "b"],
      ["kl", "--base-model", tinyModel],
    ]) {
      const { status, stderr } = await runBitnet(["eval", ...args]);
      expect(status, args.join(" ")).toBe(2);
      expect(stderr).toMatch(/^error: .*expected|needs|do not go/);
    }
    const cut = join(folder, "cut.kld");
    writeFileSync(cut, readFileSync(findFixture("eval", "base-ctx32.kld") ?? "").subarray(0, 30_000));
    const { status, stderr } = await runBitnet(["eval", "kl", "--base", cut]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^error: .*cut\.kld: 1 chunks of 32 tokens take 61708 bytes/);
  });
});

describe("bitnet perplexity", () => {
  test("measures every data set of a folder, and goes on where one fails", async () => {
    const data = join(folder, "data");
    for (const [name, content] of [
      ["stories", readFileSync(text, "utf8")],
      ["tiny", "too short"],
    ] as const) {
      mkdirSync(join(data, name), { recursive: true });
      writeFileSync(join(data, name, "test.txt"), content);
    }
    const out = join(folder, "results");
    const csv = join(folder, "out.csv");
    const { status, stdout } = await runBitnet([
      ...["test_perplexity.py", "-m", tinyModel, "-d", data, "-o", out, "--csv-output", csv, "-q", "--json"],
    ]);
    expect(status).toBe(0);
    const results = JSON.parse(stdout);
    expect(results).toMatchObject([
      { dataset: "stories", status: "success", perplexity: expect.any(Number) },
      { dataset: "tiny", perplexity: null, status: expect.stringContaining("needs at least 256") },
    ]);
    const [head, first, second] = readFileSync(csv, "utf8").split("\n");
    expect(head).toBe("dataset,perplexity,time_seconds,status,error,model");
    expect(first).toMatch(/^stories,\d+\.\d{4},\d+\.\d\d,success,/);
    expect(second).toMatch(/^tiny,,0\.00,"the text has/);
    expect(readdirSync(out)).toEqual(["tiny-bitnet.gguf_stories.json"]);
    const empty = await runBitnet(["perplexity", "-d", out]);
    expect(empty.status).toBe(1);
    expect(empty.stderr).toMatch(/has no data sets: expected files/);
  });

  test("with -e has every type of embedding, and leaves no model behind", async () => {
    const data = join(folder, "one");
    mkdirSync(join(data, "stories"), { recursive: true });
    writeFileSync(join(data, "stories", "test.txt"), readFileSync(text, "utf8").slice(0, 2000));
    const temporary = join(folder, "tmp");
    mkdirSync(temporary);
    const args = ["perplexity", "-d", data, "-o", join(folder, "types"), "-e", "-c", "64", "--json", "--quiet"];
    const { status, stdout } = await runBitnet(args, { env: { TMPDIR: temporary } });
    expect(status).toBe(0);
    const models: string[] = JSON.parse(stdout).map(({ model }: { model: string }) => model);
    expect(models[0]).toBe("tiny-bitnet.gguf");
    expect(models).toContain("tiny-bitnet.gguf, q6_k embedding");
    expect(readdirSync(temporary)).toEqual([]);
  });
});

describe("bitnet compare", () => {
  test("says in one sentence whether a change cost quality, with a table and a picture", async () => {
    const plot = join(folder, "cost.svg");
    const { status, stdout } = await runBitnet([
      ...["compare", tinyModel, "-f", text, "-c", "128", "--embedding-type", "f16,q4_0", "--plot", plot, "--quiet"],
    ]);
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /^\| perplexity +\| +4\.\d+ \+\/- 0\.\d+ \| +4\.\d+ \+\/- 0\.\d+ \| +\d\.\d+ \+\/- 0\.\d+ % \|$/m,
    );
    const labels = [...stdout.matchAll(/^\| ([^|]+?) +\|/gm)].map(([, label = ""]) => label.length);
    expect(Math.max(...labels)).toBeLessThanOrEqual(18); // whole beside three columns of numbers at 80 columns
    expect(stdout).toMatch(/^Did this change cost quality\?\nYes: perplexity rises by \+1\.\d % \+\/- 0\.\d+ %/m);
    expect(readFileSync(plot, "utf8")).toMatch(/^<svg[\s\S]*<\/svg>\n$/);
  });

  test("of two settings is JSON where asked for, and needs something that differs", async () => {
    const same = ["compare", tinyModel, "-f", text, "-c", "64", "--chunks", "4", "--quiet"];
    const { stdout } = await runBitnet([...same, "--cache-type", "f16,q8", "--json"]);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ before: { cacheType: "f16" }, after: { cacheType: "q8" } });
    expect(report.divergence.scored).toBe(4 * 31);
    expect((await runBitnet(same)).status).toBe(2);
    expect((await runBitnet(["compare", tinyModel, tinyModel])).status).toBe(2);
  });
});
