// Spellings: those of the rows of the command that runs, and nothing else.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rewriteArguments } from "../../src/cli/argv.js";
import { ProgramCommand } from "../../src/cli/command.js";
import { addOptions, groupOf, refuseOptions } from "../../src/cli/option-rows.js";
import { runBitnet } from "../support/fixtures.js";

const group = groupOf("All", {
  prompt: { flags: "-p, --prompt <text>", help: "" },
  temperature: { flags: "--temp <t>", help: "", aliases: ["-temp", "--temperature"] },
  threads: { flags: "-t, --threads <n>", help: "" },
  talk: { flags: "--conversation", help: "", aliases: ["-cnv"], negated: "", negatedAliases: ["-no-cnv"] },
  flash: { flags: "--flash-attn [mode]", aliases: ["-fa"], choices: ["on", "off", "auto"] },
  quant: { flags: "--quant [type]", help: "" },
  layers: { flags: "--gpu-layers <n>", aliases: ["-ngl"] },
});

function createCommand() {
  const command = new ProgramCommand("try");
  const read = addOptions(command, { all: group });
  command.command("part");
  refuseOptions(command, { "--mirostat --mirostat-lr": "use --temp" });
  return { command, read };
}

const rewrite = (...args: string[]) => rewriteArguments(createCommand().command, args);

describe("the arguments of a command", () => {
  test.each([
    [["-cnv"], ["--conversation"]],
    [["-no-cnv"], ["--no-conversation"]],
    [
      ["-temp", "0.5"],
      ["--temp", "0.5"],
    ],
    [["-temp=0.5"], ["--temp=0.5"]],
    [["-t=4"], ["--threads=4"]],
    [["-t4"], ["-t4"]],
    [
      ["-ngl", "-1"],
      ["--gpu-layers", "-1"],
    ],
    [["-fa"], ["--flash-attn=on"]],
    [
      ["-fa", "off", "x"],
      ["--flash-attn=off", "x"],
    ],
    [
      ["-fa", "x"],
      ["--flash-attn=on", "x"],
    ],
    [
      ["-p", "-cnv"],
      ["--prompt", "-cnv"],
    ],
    [
      ["--prompt", "--", "-cnv"],
      ["--prompt", "--", "--conversation"],
    ],
    [
      ["--", "-cnv"],
      ["--", "-cnv"],
    ],
    [
      ["part", "-cnv", "-x"],
      ["part", "-cnv", "-x"],
    ],
    [
      ["x", "part", "-cnv"],
      ["x", "part", "--conversation"],
    ],
    [
      ["-", "-5"],
      ["-", "-5"],
    ],
  ])("%j are %j", (args, expected) => {
    expect(rewrite(...args)).toEqual({ args: expected });
  });

  test.each([
    ["-tmp", "did you mean -temp?"],
    ["--tmep", "did you mean --temp?"],
    ["-cnvx", "did you mean -cnv?"],
    ["--no-cnv", "did you mean -no-cnv?"],
    ["--verbose-prompt", undefined],
    ["--keep", undefined],
    ["-ld", undefined],
    ["-qx", undefined],
    ["--ctx", undefined],
    ["--conv", "did you mean --conversation?"],
  ])("%s is unknown, and what is suggested is an option of the command", (arg, hint) => {
    const { unknown } = rewrite("x", arg, "1");
    expect(unknown).toEqual({ message: `unknown option '${arg}'`, hint });
  });

  test("an option of another program tells what to do instead", () => {
    expect(rewrite("--mirostat-lr=2").unknown).toEqual({
      message: "there is no --mirostat-lr here",
      hint: "use --temp",
    });
  });

  test("are read with the last spelling given", () => {
    const { command, read } = createCommand();
    command.action(() => {}).parse(["--temperature", "1", "-temp", "2", "-cnv", "-no-cnv"], { from: "user" });
    expect(read().all).toMatchObject({ temperature: "2", talk: false });
  });

  test("are as many as before, and done after one pass", () => {
    const word = fc.oneof(fc.constantFrom("-cnv", "-temp", "-p", "--", "--temperature=1", "-ngl", "x"), fc.string());
    fc.assert(
      fc.property(fc.array(word), (args) => {
        const once = rewrite(...args);
        expect(once.args.length).toBeLessThanOrEqual(args.length);
        if (once.unknown === undefined) {
          expect(rewrite(...once.args)).toEqual(once);
        }
      }),
    );
  });
});

describe("errors name the command and nothing that it lacks", () => {
  test.each([
    ["bench -cnv x", /unknown option '-cnv'\nhint: see bitnet bench --help/],
    ["tokenize -cnv x", /unknown option '-cnv'\nhint: see bitnet tokenize --help/],
    ["bench kernels --nonsense 1", /unknown option '--nonsense'\nhint: see bitnet bench kernels --help/],
    ["bench kernels -o results.txt", /'results\.txt' is invalid.*\nhint: see bitnet bench kernels --help/],
    ["inspect --ctx 5 x", /hint: did you mean --ctx-size\?/],
    ["convert --zzz x", /unknown option '--zzz'\nhint: see bitnet convert --help/],
    ["runn -x", /unknown command 'runn'\nhint: did you mean run\?/],
  ])("bitnet %s", async (line, message) => {
    const { status, stdout, stderr } = await runBitnet(line.split(" "));
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(message);
  });
});

test("help has the spellings of one dash in its left column", async () => {
  const { stdout } = await runBitnet(["run", "--help"]);
  expect(stdout).toMatch(/^ {2}-temp, --temp <t> /m);
  expect(stdout).toMatch(/^ {2}-cnv, .*--conversation/m);
  expect((await runBitnet(["setup-env", "--help"])).stdout).toMatch(/^ {2}-hr, --hf-repo <repo>/m);
});
