// Options that are not typed: variables and files of options, what wins, and what is wrong with them.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { ProgramCommand } from "../../src/cli/command.js";
import { addOptions, groupOf } from "../../src/cli/option-rows.js";
import { generalGroup } from "../../src/cli/options.js";
import { collectText, integerFrom, listFrom } from "../../src/cli/parsers.js";
import { applySettings } from "../../src/cli/settings.js";
import { runBitnet } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-settings-"));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function file(content: unknown, type = "json"): string {
  const path = join(folder, `${files++}.${type}`);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const group = groupOf("All", {
  threads: { flags: "-t, --threads <n>", help: "", parse: integerFrom(1, 64), standard: 1 },
  fast: { flags: "--no-fast", help: "" },
  escape: { flags: "--escape", help: "", standard: true, negated: "" },
  log: { flags: "--log <file>", help: "", negated: "" },
  stop: { flags: "--stop <text>", help: "", parse: collectText },
  depths: { flags: "--depth <n>", help: "", parse: listFrom(0, 9), standard: [0] },
  color: { flags: "--paint <how>", help: "", choices: ["red", "blue"] },
  kernel: { flags: "--kernel <name>", help: "", variable: false },
  layers: { flags: "--layers <n>", ignored: "there are none" },
});

/** The values of a command line with these variables. */
async function read(args: string[], env: Record<string, string> = {}) {
  const program = new ProgramCommand("bitnet");
  const other = new ProgramCommand("bench");
  addOptions(other, { all: groupOf("All", { plot: { flags: "--plot <file>", help: "" } }) });
  const command = new ProgramCommand("run");
  const values = addOptions(command, { all: group, general: generalGroup });
  program.addCommand(command).addCommand(other);
  command.action(() => applySettings(command, async () => program, { XDG_CONFIG_HOME: folder, ...env }));
  await program.parseAsync(["run", ...args], { from: "user" });
  return values().all;
}

describe("a variable", () => {
  test.each([
    [{ BITNET_THREADS: "4" }, { threads: 4 }],
    [{ BITNET_THREADS: "4", BITNET_RUN_THREADS: "5" }, { threads: 5 }],
    [{ BITNET_THREADS: "" }, { threads: 1 }],
    [{ BITNET_FAST: "no" }, { fast: false }],
    [{ BITNET_FAST: "1" }, { fast: true }],
    [{ BITNET_ESCAPE: "off" }, { escape: false }],
    [{ BITNET_LOG: "x.log" }, { log: "x.log" }],
    [{ BITNET_LOG: "false" }, { log: false }],
    [{ BITNET_STOP: "a" }, { stop: ["a"] }],
    [{ BITNET_DEPTH: "1,2" }, { depths: [1, 2] }],
    [
      { BITNET_KERNEL: "scalar", BITNET_LAYERS: "9" },
      { kernel: undefined, layers: undefined },
    ],
  ])("%j gives %j", async (env, expected) => {
    expect(await read([], env)).toMatchObject(expected);
  });

  test.each([
    [{ BITNET_THREADS: "many" }, /^BITNET_THREADS: "many" is invalid for '-t, --threads <n>'.*integer from 1 to 64/],
    [{ BITNET_RUN_FAST: "perhaps" }, /^BITNET_RUN_FAST: .*true or false/],
    [{ BITNET_PAINT: "green" }, /^BITNET_PAINT: .*red, blue/],
  ])("%j is refused by name", async (env, message) => {
    await expect(read([], env)).rejects.toThrow(message);
  });
});

describe("a file", () => {
  test("has options for all commands and for one", async () => {
    const path = file({ threads: 2, stop: ["a", "b"], plot: "x.svg", run: { threads: 3, fast: false, log: false } });
    const expected = { threads: 3, stop: ["a", "b"], fast: false, log: false };
    expect(await read(["--config", path])).toMatchObject(expected);
    expect(await read([], { BITNET_CONFIG: path })).toMatchObject(expected);
  });

  test("is the user's own if none is named", async () => {
    const home = join(folder, "home");
    mkdirSync(join(home, "bitnet"), { recursive: true });
    writeFileSync(join(home, "bitnet", "config.json"), '\ufeff{"depth": [3, 4]}');
    expect((await read([], { XDG_CONFIG_HOME: home })).depths).toEqual([3, 4]);
    expect((await read(["--config", file({})], { XDG_CONFIG_HOME: home })).depths).toEqual([0]);
  });

  test("gives way to a variable, and that to what is typed", async () => {
    const path = file({ threads: 2 });
    expect((await read(["--config", path])).threads).toBe(2);
    expect((await read(["--config", path], { BITNET_THREADS: "3" })).threads).toBe(3);
    expect((await read(["--config", path, "-t", "4"], { BITNET_THREADS: "3" })).threads).toBe(4);
  });

  test.each([
    [{ thread: 2 }, /there is no option "thread"/, 'did you mean "threads"?'],
    [{ run: { plot: "x" } }, /"run" has no option "plot"/, "keys are the long names of options"],
    [{ bench: { plto: "x" } }, /"bench" has no option "plto"/, 'did you mean "plot"?'],
    [{ benhc: {} }, /there is no option "benhc"/, 'did you mean "bench"?'],
    [{ "--threads": 2 }, /there is no option "--threads"/, expect.any(String)],
    [{ threads: 0 }, /"threads": 0 is invalid for '-t, --threads <n>'/, expect.any(String)],
    [{ threads: null }, /"threads": null is invalid/, expect.any(String)],
    [{ fast: 3 }, /"fast": 3 is invalid.*true or false/, expect.any(String)],
    [{ run: { threads: [] } }, /"threads": \[\] is invalid/, expect.any(String)],
    ['{"__proto__": {"threads": 2}}', /no option "__proto__"/, expect.any(String)],
    ["[1]", /expected a JSON object/, expect.any(String)],
    ["{threads: 2}", /no valid JSON/, expect.any(String)],
    [" ".repeat(2 ** 16 + 1), /larger than/, expect.any(String)],
  ])("%# is refused", async (content, message, hint) => {
    const path = file(content);
    const error = await read(["--config", path]).then(
      () => undefined,
      (thrown) => thrown,
    );
    expect(error).toMatchObject({ code: "USAGE", message: expect.stringMatching(message), hint });
    expect(error.message).toContain(path);
  });

  test("may be YAML, and means the same", async () => {
    const text = "# ours\nthreads: 2\nstop: [a, b]\nplot: x.svg\nrun:\n  threads: 3\n  fast: false\n  log: no\n";
    const json = file({ threads: 2, stop: ["a", "b"], plot: "x.svg", run: { threads: 3, fast: false, log: "no" } });
    const expected = await read(["--config", json]);
    for (const type of ["yaml", "yml", "conf"]) {
      expect(await read(["--config", file(text, type)])).toEqual(expected);
    }
    const home = join(folder, "yaml-home");
    mkdirSync(join(home, "bitnet"), { recursive: true });
    writeFileSync(join(home, "bitnet", "config.yaml"), text);
    expect(await read([], { XDG_CONFIG_HOME: home })).toEqual(expected);
    writeFileSync(join(home, "bitnet", "config.json"), "{}");
    await expect(read([], { XDG_CONFIG_HOME: home })).rejects.toThrow(/config\.json and .*config\.yaml: expected one/);
  });

  test.each([
    ["json", '{\n "threads": 2,\n "run": {\n  "depth": "x" } }', /:4: "depth": "x" is invalid/],
    ["json", '{\n "run": {\n  "plto": 1 } }', /:3: "run" has no option "plto"/],
    ["json", '{\n "threads": 2,\n "log": "x" "depth": 1 }', /:3: no valid JSON/],
    ["yaml", "threads: 2\nrun:\n  # none\n  threads: 0\n", /:4: "threads": 0 is invalid/],
    ["yaml", "threads: 2\n\nthraeds: 3\n", /:3: there is no option "thraeds"/],
    ["yaml", "threads: 2\nrun: {threads: 3\nlog: x\n", /:\d: no valid YAML: /],
    ["yaml", "threads: 2\nthreads: 3\n", /:2: no valid YAML: Map keys must be unique/],
    ["yaml", "threads: !!js/function 2\n", /:1: no valid YAML: Unresolved tag/],
    ["yaml", "threads: 2\n---\nthreads: 3\n", /no valid YAML: /],
    ["yaml", "threads: &a 2\ndepth: *a\n", /expected values, not references/],
    ["yaml", "- threads\n", /expected a YAML object/],
    ["yaml", "", /expected a YAML object/],
    ["yaml", "threads:\n", /:1: "threads": null is invalid/],
    ["yaml", "[".repeat(60_000), /nested too deeply|no valid YAML/],
    ["yaml", "- ".repeat(30_000), /nested too deeply|no valid YAML/],
  ])("of %s tells what is wrong in which line: %#", async (type, text, message) => {
    const error = await read(["--config", file(text, type)]).then(
      () => undefined,
      (thrown) => thrown,
    );
    expect(error).toMatchObject({ code: "USAGE", message: expect.stringMatching(message) });
  });

  test("that stands for more than it says is refused before anybody has the memory", async () => {
    const levels = Array.from({ length: 12 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i},`.repeat(10)}]`);
    const bomb = file(["l0: &l0 lol", ...levels].join("\n"), "yaml");
    await expect(read(["--config", bomb])).rejects.toThrow(/not references/);
  });

  test("that is named must be there", async () => {
    await expect(read(["--config", join(folder, "none.json")])).rejects.toThrow(/none\.json: no such file/);
  });
});

test("the program reads both, and ends with 2 where one is wrong", async () => {
  const config = file({ run: { "n-predict": 3, quiet: true }, temp: 0, "ignore-eos": true });
  const args = ["run", "-p", "Once upon a time", "--json"];
  const { stdout, stderr } = await runBitnet([...args, "--config", config]);
  expect(stderr).toBe("");
  expect(JSON.parse(stdout).tokens).toHaveLength(3);
  const { stdout: more } = await runBitnet([...args, "--config", config], { env: { BITNET_N_PREDICT: "5" } });
  expect(JSON.parse(more).tokens).toHaveLength(5);
  const { status, stderr: why } = await runBitnet(args, { env: { BITNET_N_PREDICT: "x" } });
  expect({ status, why }).toEqual({
    status: 2,
    why: expect.stringMatching(/^error: BITNET_N_PREDICT: "x" is invalid/),
  });
});
