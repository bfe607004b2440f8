// Numbers, names and texts of files, and prompts that bring what the program adds: as a user and other programs see them.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { oneLine, withoutControls } from "../../src/cli/terminal/format.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";
import { writeGguf } from "../support/write-gguf.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-foreign-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

const bos = "<|begin_of_text|>";
const greedy = ["-n", "4", "-temp", "0", "--json"];

async function generate(args: string[]): Promise<{ text: string; timings: { promptTokens: number }; note: string }> {
  const { status, stdout, stderr } = await runBitnet(["run", "-m", tinyModel, ...greedy, ...args]);
  expect(status).toBe(0);
  return { ...JSON.parse(stdout), note: stderr.split("\n").find((line) => line.startsWith("note:")) ?? "" };
}

describe("a prompt that begins with BOS", () => {
  const told = `note: the text begins with ${bos} already; no second one is added`;

  test("has one BOS, and run says so", async () => {
    const plain = await generate(["-p", "User: hello<|eot_id|>Assistant: "]);
    const own = await generate(["-p", `${bos}User: hello<|eot_id|>Assistant: `]);
    expect(own.timings.promptTokens).toBe(plain.timings.promptTokens);
    expect(own.text).toBe(plain.text);
    expect([plain.note, own.note]).toEqual(["", told]);
    const quiet = await generate(["-p", `${bos}Hi`, "--quiet"]);
    expect(quiet.note).toBe("");
  });

  test("has one BOS in logits and tokenize, unless it brings two", async () => {
    const ids = async (...args: string[]) => {
      const { stdout, stderr } = await runBitnet(args);
      const value: unknown = JSON.parse(stdout);
      return [Array.isArray(value) ? value : (value as { ids: number[] }).ids, stderr];
    };
    const tokenize = ["tokenize", "-m", tinyModel];
    const once = [[2045, 772], `${told}\n`];
    expect(await ids(...tokenize, "--parse-special", `${bos}Once`)).toEqual(once);
    expect(await ids(...tokenize, "--parse-special", "--no-special", `${bos}Once`)).toEqual([[2045, 772], ""]);
    expect(await ids(...tokenize, "--parse-special", `${bos}${bos}Once`)).toEqual([[2045, 2045, 772], `${told}\n`]);
    expect(await ids("logits", "-m", tinyModel, "-p", `${bos}Once`)).toEqual(once);
  });
});

describe("a prompt file", () => {
  test("may have a byte order mark", async () => {
    const plain = await generate(["-f", file("plain.txt", "Once upon a time")]);
    const marked = await generate(["-f", file("marked.txt", "\uFEFFOnce upon a time\r\n")]);
    expect(marked.text).toBe(plain.text);
    expect(marked.timings.promptTokens).toBe(plain.timings.promptTokens);
  });

  test.each([
    ["-f", "prompt.txt", /prompt\.txt is not UTF-8 text, but UTF-16/],
    ["-cnv --chat-template", "chat.jinja", /chat\.jinja is not UTF-8 text, but UTF-16/],
  ])("that is not UTF-8 is an error: %s", async (option, name, message) => {
    const path = file(name, Buffer.from("\uFEFFOnce", "utf16le"));
    const { status, stdout, stderr } = await runBitnet(["run", "-m", tinyModel, ...option.split(" "), path]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr).toContain("hint: save it as UTF-8");
  });
});

describe("what a file says", () => {
  const evil = "a\x1b[2J\x9b1m\u202egpj\nerror: forged\x07";

  test("comes as JSON whole, with all digits and without control characters", async () => {
    const path = join(folder, "numbers.gguf");
    writeGguf(path, {
      "general.architecture": "llama",
      "general.name": evil,
      "training.hash": 15_702_152_105_487_630_865n,
      "training.nan": Number.NaN,
    });
    const { status, stdout, stderr } = await runBitnet(["inspect", "--json", path]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain('"training.hash":15702152105487630865');
    expect(stdout).toContain('"training.nan":"NaN"');
    expect(stdout).toMatch(/^[\x20-\x7e]*\n$/);
    expect((JSON.parse(stdout) as { name: string }).name).toBe(evil);
  });

  test("comes to people without control characters", async () => {
    const path = join(folder, "evil.gguf");
    writeGguf(path, { "general.architecture": "llama", "general.name": evil, [`key${evil}`]: evil });
    const { stdout } = await runBitnet(["inspect", path]);
    expect(stdout).toMatch(/^(?:[\n\t\x20-\x7e]|[^\p{Cc}\u202a-\u202e\u2066-\u2069])*$/u);
    expect(stdout).not.toMatch(/^error: forged/m);
  });
});

test("marks that turn the direction of text around are control characters", () => {
  expect(withoutControls("photo\u202egpj.exe\u2066a\u2069 \u05d0\u200f")).toBe("photogpj.exea \u05d0\u200f");
  expect(oneLine("a\u2028b\nc")).toBe("a b c");
});

test("times in JSON have three decimals", async () => {
  const { timings } = (await generate(["-p", "Once"])) as { timings: Record<string, number> };
  for (const [name, value] of Object.entries(timings)) {
    expect({ name, value }).toEqual({ name, value: Number(value.toFixed(3)) });
  }
});
