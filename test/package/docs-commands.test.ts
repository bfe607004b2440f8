// Every command line of the documents and of the help is one that the program takes, and those of the documents run as
// they are printed, in the order of the page, with the files that it speaks of and a hub on the loopback interface.

import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rewriteArguments } from "../../src/cli/argv.js";
import type { ProgramCommand } from "../../src/cli/command.js";
import { createProgram, loadProgram } from "../../src/cli/program.js";
import { commandsBelow } from "../../src/cli/settings.js";
import { writeTinyAdapter } from "../support/adapters.js";
import { FakeHub } from "../support/fake-hub.js";
import { root, runBitnet, tinyModel } from "../support/fixtures.js";
import { prepareTraining, shortTraining } from "../support/training.js";

/** Lines that are parsed alone, and why. */
const notRun: [RegExp, string][] = [
  [/^for .*llama-bench/s, "needs llama-bench"],
  [/bitnet bench kernels$/, "multiplies the matrices of three large models, for minutes"],
  [/bitnet bench serve/, "loads a server for minutes"],
  [/bitnet serve/, "serves until it is told to end"],
  [/bitnet eval (tasks|compare)/, "needs data sets of the hub, or results"],
  [/bitnet (embed|setup-env embedding)/, "needs a model of embeddings, which is large"],
  [/bitnet monitor/, "needs a server"],
  [/bitnet batch .*--(server|redis)/, "needs a server, or Redis"],
  [/bitnet tune(?!.*--reset)/, "measures for minutes"],
  [/bitnet rm /, "asks on a terminal"],
  [/--expect 17/, "expects the perplexity of another model"],
  [/bitnet train .*training-data\/config/, "needs more text than there is here"],
  [/bitnet merge/, "needs an adapter that has learned something"],
  [/-m model\/model\.gguf/, "speaks of what that would make"],
  [/--kernel scalar,avx2/, "names a kernel that other CPUs do not have"],
];

const documents = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)];
const folder = mkdtempSync(join(tmpdir(), "bitnet-docs-"));
const checkpoint = join(root, "test", "fixtures", "tiny-bitnet-packed");

let hub: FakeHub;
beforeAll(async () => {
  writeShim("bitnet-run", `exec "${process.execPath}" "${join(root, "bin", "bitnet.js")}" "$@"`);
  writeShim("bitnet-record", `{ printf '%s\\037' "$@"; printf '\\036'; } >> "$RECORD"`);
  hub = await FakeHub.start();
  const files = Object.fromEntries(readdirSync(checkpoint).map((name) => [name, readFileSync(join(checkpoint, name))]));
  hub.repositories.set("microsoft/BitNet-b1.58-2B-4T", { files });
  hub.repositories.set("microsoft/BitNet-b1.58-2B-4T-gguf", {
    files: { "ggml-model-i2_s.gguf": readFileSync(tinyModel) },
  });
  hub.repositories.set("tiiuae/Falcon3-3B-Instruct-1.58bit", { files });
});
afterAll(async () => {
  await hub.stop();
  rmSync(folder, { recursive: true });
});

/** A `bitnet` for shells, in a folder of its own. */
function writeShim(name: string, body: string): void {
  const path = join(folder, name, "bitnet");
  mkdirSync(join(folder, name));
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
}

interface Unit {
  document: string;
  text: string;
}

/** What is typed at once: a line, or a block that begins with a loop. */
function unitsOf(document: string): Unit[] {
  const text = readFileSync(join(root, document), "utf8");
  const fences = [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)];
  const blocks = fences.flatMap(([, language = "", block = ""]) => {
    if (language === "console") {
      return block.replace(/^(?!\$ ).*\n/gm, "").replace(/^\$ /gm, "");
    }
    return language === "sh" || language === "" ? block : [];
  });
  return blocks
    .flatMap((block) => (/^for /m.test(block) ? [block] : block.replaceAll("\\\n", " ").split("\n")))
    .filter((unit) => /(^|[|;&(] *|^ +)bitnet /m.test(unit))
    .map((unit) => ({ document, text: unit.trim() }));
}

const units = documents.flatMap(unitsOf);

/** The arguments of each `bitnet` of a text for the shell, as the shell makes them. */
function argumentsOf(text: string): string[][] {
  const output = join(folder, "recorded");
  const script = text.replace(/^source <\((.*?)\)/, "$1").replace(/[<>]+ *[~/\w.$]+/g, "");
  writeFileSync(output, "");
  spawnSync("/bin/sh", ["-c", script], { cwd: folder, env: { PATH: join(folder, "bitnet-record"), RECORD: output } });
  const calls = readFileSync(output, "utf8").split("\x1e").slice(0, -1);
  return calls.map((call) => call.split("\x1f").slice(0, -1));
}

/** Parses a command line as the program does, and does nothing. Throws what the program would. */
async function parse(typed: string[]): Promise<void> {
  const { program, args } = await createProgram(typed);
  disarm(program);
  await program.parseAsync(args, { from: "user" });
}

function disarm(command: Command): void {
  for (const child of command.commands) {
    child.action(() => {});
    disarm(child);
  }
}

test("the documents have commands, and every reason is that of one", () => {
  expect(units.length).toBeGreaterThan(25);
  for (const [pattern] of notRun) {
    expect(units.some(({ text }) => pattern.test(withoutRemark(text)))).toBe(true);
  }
});

describe("every line is a command line that the program takes", () => {
  test.each(units)("$document: $text", async ({ text }) => {
    const lines = argumentsOf(text);
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) {
      await parse(line);
    }
  });

  test.each([
    ["bitnet run -m model.gguf --nonsense", /unknown option '--nonsense'/],
    ["bitnet run --top-k many", /expected an integer/],
    ["bitnet bench -m model.gguf -o xlsx", /expected md, csv/],
    ["bitnet runn", /unknown command/],
    ["printf x | bitnet run --keeep 3 > out.txt", /unknown option '--keeep'/],
  ])("and '%s' would be found", async (line, message) => {
    const [typed = []] = argumentsOf(line);
    await expect(parse(typed)).rejects.toThrow(message);
  });
});

describe("every command within a sentence has options that there are", () => {
  const spans = documents.flatMap((document) =>
    [...readFileSync(join(root, document), "utf8").matchAll(/`bitnet ([^`]* -[^`]*)`/g)].map(([, line = ""]) => ({
      document,
      line: line.replace(/\s+/g, " "),
    })),
  );
  test.each(spans)("$document: bitnet $line", async ({ line }) => {
    const { program, args } = await createProgram(line.split(" "));
    const known = commandsBelow(program).filter((command) => isNamed(command, args));
    const [command] = known.sort((a, b) => b.path.length - a.path.length);
    const names = command === undefined ? 0 : command.path.split(" ").length - 1;
    expect(command && rewriteArguments(command, args.slice(names)).unknown).toBeUndefined();
    expect(names).toBeGreaterThan(0);
  });

  function isNamed(command: ProgramCommand, args: string[]): boolean {
    return `${args.join(" ")} `.startsWith(`${command.path.replace(/^\S+ /, "")} `);
  }
});

describe("every example of the help is a command line that the program takes", () => {
  test("all of them", async () => {
    for (const command of commandsBelow(await loadProgram())) {
      const { stdout } = await runBitnet([...command.path.split(" ").slice(1), "--help"], { env: { COLUMNS: "120" } });
      const examples = [...stdout.matchAll(/^ +\$ (.*?)(?: {2,}\(.*)?$/gm)].map(([, line = ""]) => line);
      for (const line of examples) {
        const lines = argumentsOf(line);
        expect({ line, count: lines.length }).toEqual({ line, count: 1 });
        await parse(lines[0] ?? []);
      }
    }
  });
});

function withoutRemark(text: string): string {
  return text.replace(/ +#.*$/, "");
}

describe("every line runs as it is printed", () => {
  const isRunElsewhere = (document: string) => document === "README.md"; // by readme.test.ts
  const pages = documents.filter(
    (document) => !isRunElsewhere(document) && units.some((unit) => unit.document === document),
  );
  test.each(pages)(
    "%s",
    async (document) => {
      const place = join(folder, document.replaceAll("/", "-"));
      preparePage(place);
      for (const { text } of units.filter((unit) => unit.document === document)) {
        const typed = withoutRemark(text);
        if (!notRun.some(([pattern]) => pattern.test(typed))) {
          const { status, stderr } = await runShell(typed, place);
          expect({ typed, status, stderr }).toEqual({
            typed,
            status: 0,
            stderr: expect.not.stringContaining("error:"),
          });
        }
      }
    },
    600_000, // many processes
  );
});

/** The files that the pages speak of. */
function preparePage(place: string): void {
  mkdirSync(join(place, "models"), { recursive: true });
  for (const name of ["model.gguf", "a.gguf", "b.gguf", "model-f32.gguf", "f16.gguf", "q6_k.gguf", "q4_0.gguf"]) {
    copyFileSync(tinyModel, join(place, name));
  }
  for (const name of ["adapter", "other"]) {
    writeTinyAdapter(join(place, name), 256);
  }
  copyFileSync(join(root, "test", "fixtures", "eval", "text.txt"), join(place, "text.txt"));
  mkdirSync(join(place, "examples"));
  for (const name of ["examples/batch.jsonl", "requests.jsonl"]) {
    copyFileSync(join(root, "examples", "batch.jsonl"), join(place, name));
  }
  prepareTraining(place);
  cpSync(checkpoint, join(place, "models", "my-checkpoint"), { recursive: true });
  mkdirSync(join(place, "home", "BitNet-b1.58-2B-4T"), { recursive: true });
  copyFileSync(tinyModel, join(place, "home", "BitNet-b1.58-2B-4T", "ggml-model-i2_s.gguf"));
}

/** A line in a shell, where somebody says Hello to what asks. Measurements are short. */
function runShell(text: string, place: string): Promise<{ status: number | null; stderr: string }> {
  const child = spawn("/bin/sh", ["-c", text], {
    cwd: place,
    stdio: ["pipe", "ignore", "pipe"],
    env: {
      PATH: join(folder, "bitnet-run"),
      HOME: join(place, "home"),
      BITNET_MODELS: join(place, "home"),
      HF_ENDPOINT: hub.url,
      no_proxy: "127.0.0.1",
      ...shortTraining,
      BITNET_RUN_N_PREDICT: "8",
      BITNET_BENCH_REPETITIONS: "1",
      BITNET_BENCH_ROOFLINE: "false",
      BITNET_BENCH_N_GEN: "4",
    },
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (piece: string) => {
    stderr += piece;
  });
  child.stdin.on("error", () => {}); // it may be gone before it is told
  child.stdin.end("Hello.\n");
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stderr }));
  });
}
