// Options as data: rows that add themselves to a command and read as options of the library.

import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { ProgramCommand } from "../../src/cli/command.js";
import { addOptions, groupOf, noteIgnored, type OptionRows, type RowValues } from "../../src/cli/option-rows.js";
import { generationRows, modelRows, readGeneration, readSession, samplingGroup } from "../../src/cli/options.js";
import { collectText, integerFrom } from "../../src/cli/parsers.js";
import { listSamplingParameters } from "../../src/engine/request.js";

/** The values that a command with these rows reads from a command line. */
function parse<const R extends OptionRows>(rows: R, ...args: string[]): RowValues<R> {
  const command = new ProgramCommand();
  const read = addOptions(command, { all: groupOf("All", rows) });
  command.parse(args, { from: "user" });
  return read().all;
}

describe("rows", () => {
  const rows = {
    contextSize: { flags: "-c, --ctx-size <n>", help: "", parse: integerFrom(0) },
    level: { flags: "--level <n>", help: "", parse: integerFrom(0), standard: 3, aliases: ["--depth"] },
    texts: { flags: "--text <text>", help: "", parse: collectText },
    type: { flags: "--type [name]", help: "" },
    color: { flags: "--no-color", help: "" },
    log: { flags: "--log <file>", help: "", negated: "" },
  } as const;

  test("are read under their keys, whatever the spelling of the option", () => {
    expect(parse(rows, "-c", "8", "--text", "a", "--text", "b", "--type", "--no-color", "--log", "x")).toEqual({
      contextSize: 8,
      level: 3,
      texts: ["a", "b"],
      type: true,
      color: false,
      log: "x",
    });
  });

  test("that are left out have their default or no value", () => {
    expect(parse(rows)).toEqual({ color: true, level: 3 });
  });

  test("have a form that says no", () => {
    expect(parse(rows, "--no-log").log).toBe(false);
  });

  test("have other spellings with the same value, of which the last one given counts", () => {
    expect(parse(rows, "--depth", "5").level).toBe(5);
    expect(parse(rows, "--depth", "5", "--level", "6").level).toBe(6);
    expect(parse(rows, "--level", "6", "--depth", "5").level).toBe(5);
    expect(() => parse(rows, "--depth", "x")).toThrow(/--level <n>.*'x' is invalid/);
  });

  test("without an effect say why, unless they ask for what is done anyway", () => {
    const group = groupOf("Ignored", {
      layers: { flags: "-g, --gpu-layers <n>", ignored: "there is no GPU", harmless: "0" },
      padding: { flags: "--pad", ignored: "it is not needed" },
    });
    const told = (...args: string[]) => {
      const notes: string[] = [];
      noteIgnored(group, parse(group.rows, ...args), (text) => notes.push(text));
      return notes;
    };
    expect(told()).toEqual([]);
    expect(told("-g", "0")).toEqual([]);
    expect(told("-g", "9", "--pad")).toEqual([
      "--gpu-layers has no effect: there is no GPU",
      "--pad has no effect: it is not needed",
    ]);
  });

  test("without a help text are accepted, but not shown", () => {
    const command = new ProgramCommand();
    addOptions(command, {
      all: groupOf("All", { shown: { flags: "--shown", help: "x" }, silent: { flags: "--silent" } }),
    });
    expect(command.helpInformation()).toMatch(/All:\n {6}--shown +x\n/);
    expect(command.helpInformation()).not.toContain("--silent");
  });
});

describe("the sampling options", () => {
  const { rows } = samplingGroup();
  const numbers = listSamplingParameters().flatMap((parameter) =>
    parameter.option === "" || parameter.kind === "texts" ? [] : [parameter],
  );

  test.each(numbers)("$option is $name in the bounds of the core's table", (parameter) => {
    const { name, option, kind, least, most, standard } = parameter;
    const [flag = ""] = option.split(" ");
    expect(parse(rows, flag, String(standard))).toEqual({
      [name]: kind === "whole" ? standard : expect.closeTo(standard),
    });
    expect(parse(rows, `${flag}=${least}`)).toEqual({ [name]: least });
    const above = kind === "whole" ? most + 1 : most * 1.01;
    expect(() => parse(rows, flag, String(above))).toThrow(/argument .* is invalid/);
  });

  test("every parameter of the table can be set", () => {
    const names = listSamplingParameters().map(({ name }) => name);
    const own = ["logprobs", "postSamplingProbs"]; // --json has the first; the second is for programs
    expect(Object.keys(rows).sort()).toEqual(
      [...names.filter((name) => !own.includes(name)), "logitBias", "samplingSeq"].sort(),
    );
  });

  test("help shows the defaults of the core", () => {
    const command = new ProgramCommand();
    addOptions(command, { sampling: samplingGroup() });
    const help = command.helpInformation().replace(/\s+/g, " ");
    expect(help).toContain("-temp, --temp <t> temperature; 0: the likeliest token (default: 0.8)");
    expect(help).toContain("--min-p <p> drop tokens below this share of the best probability (default: 0.05)");
  });
});

describe("what options mean for the library", () => {
  const generation = (path: string | undefined, ...args: string[]) =>
    readGeneration(
      { model: { path }, generation: parse(generationRows, ...args), sampling: parse(samplingGroup().rows) },
      { maxTokens: 128 },
    );

  test("-n has a default and -2 means the same as -1", () => {
    expect(generation("x").maxTokens).toBe(128);
    expect(generation("x", "-n", "7").maxTokens).toBe(7);
    expect(generation("x", "-n", "-2").maxTokens).toBe(-1);
  });

  test("escapes in --stop are processed unless told not to", () => {
    expect(generation("x", "--stop", "a\\n").stop).toEqual(["a\n"]);
    expect(generation("x", "--stop", "a\\n", "--no-escape").stop).toEqual(["a\\n"]);
  });

  test("texts that are a sampling option are a list with escapes, which none empties", () => {
    const breakers = (...texts: string[]) => {
      const args = texts.flatMap((text) => ["--dry-sequence-breaker", text]);
      const sampling = parse(samplingGroup().rows, ...args);
      return readGeneration({ model: {}, generation: parse(generationRows), sampling }, { maxTokens: 1 })
        .drySequenceBreakers;
    };
    expect(breakers()).toBeUndefined();
    expect(breakers("\\n", "x")).toEqual(["\n", "x"]);
    expect(breakers("x", "none")).toEqual([]);
  });

  test("the bundled model takes the likeliest token, others the core's default", () => {
    expect(generation(undefined).temperature).toBe(0);
    expect(generation("x").temperature).toBeUndefined();
  });

  test("a seed of -1 is a random one", () => {
    const values = parse(samplingGroup().rows, "-s", "-1");
    const read = readGeneration({ model: {}, generation: parse(generationRows), sampling: values }, { maxTokens: 1 });
    expect(read.seed).toBeUndefined();
  });

  test.each([
    [undefined, 512, 512, 0],
    [undefined, 4096, 2048, 0],
    [0, 4096, 4096, 0],
    [100, 4096, 100, 0],
    [9999, 4096, 4096, 1],
  ])("-c %s of a model trained for %d is %d", (contextSize, contextLength, expected, notes) => {
    const told: string[] = [];
    expect(readSession({ contextSize }, { contextLength, warnings: [] }, (text) => told.push(text)).contextSize).toBe(
      expected,
    );
    expect(told).toHaveLength(notes);
  });
});

describe("options that several commands have", () => {
  // Loaded as the program loads them, the ones of `bench kernels` aside: it measures lists.
  const commands = ["run", "logits", "tokenize", "bench", "tune", "setup-env", "convert", "dummy"];

  test("are told in the same words", async () => {
    const told = new Map<string, Set<string>>();
    for (const name of commands) {
      const { default: configure } = await import(`../../src/cli/commands/${name}.ts`);
      const command = new Command(name);
      configure(command);
      for (const { long, description } of command.options) {
        told.set(long ?? "", (told.get(long ?? "") ?? new Set()).add(description));
      }
    }
    const shared = [modelRows.tokenizerPre, modelRows.kernelConfig, modelRows.fastHead];
    for (const { flags, help } of shared) {
      expect([...(told.get(flags.split(" ")[0] ?? "") ?? [])]).toEqual([help]);
    }
    expect([...(told.get("--cache-type") ?? [])]).toHaveLength(1);
    expect([...(told.get("--embedding-type") ?? [])]).toHaveLength(1);
  });
});
