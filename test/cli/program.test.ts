// The table of commands: names, aliases, names of other programs, help and versions.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { wrapCommand } from "../../src/cli/help.js";
import { createProgram, loadProgram } from "../../src/cli/program.js";
import { commandsBelow } from "../../src/cli/settings.js";
import { root, runBitnet } from "../support/fixtures.js";

describe("names of commands", () => {
  test.each([
    ["ls --json", "list --json"],
    ["show x", "inspect x"],
    ["remove x", "rm x"],
    ["run_inference.py -p x", "run -p x"],
    ["run-inference", "run"],
    ["llama-cli -p x", "run -p x"],
    ["llama-perplexity -f x", "eval perplexity -f x"],
    ["utils/test_perplexity.py -m x", "perplexity -m x"],
    ["setup_env.py -md x", "setup-env -md x"],
    ["utils/e2e_benchmark.py -m x", "bench -m x"],
    ["llama-bench", "bench"],
    ["utils/convert-hf-to-gguf-bitnet.py x", "convert x"],
    ["convert-helper-bitnet.py x", "convert x"],
    ["generate-dummy-bitnet-model.py x", "dummy x"],
    ["utils/convert.py x", "convert x"],
    ["convert-bitnet-embedding-to-gguf.py x", "convert x"],
    ["e2e-benchmark -m x", "bench -m x"],
    ["help ls", "list --help"],
    ["help bench kernels", "bench kernels --help"],
    ["help", "--help"],
    ["-v", "version"],
    ["--version --verbose", "version --verbose"],
    ["quantize in.gguf out.gguf I2_S 2", "convert in.gguf --outfile out.gguf --outtype I2_S --threads 2"],
    ["quantize in.gguf TQ2_0", "convert in.gguf --outtype TQ2_0"],
    ["quantize in.gguf out I2_S", "convert in.gguf --outfile out --outtype I2_S"],
    ["quantize in.gguf out 40 1", "convert in.gguf --outfile out --outtype I2_S --threads 1"],
    ["quantize --quiet in.gguf out.gguf 38 0", "convert --quiet in.gguf --outfile out.gguf --outtype TL1"],
    ["run_inference_server.py -m model.gguf", "serve -m model.gguf"],
    ["llama-server -np 4", "serve -np 4"],
    ["server", "serve"],
    ["quantize in.gguf Q4_K_M", "convert in.gguf --outtype Q4_K_M"],
    [
      "llama-quantize --token-embedding-type f16 --allow-requantize ./in ./out I2_S 1 1",
      "convert --token-embedding-type f16 ./in --outfile ./out --outtype I2_S --threads 1",
    ],
  ])("bitnet %s is bitnet %s", async (typed, meant) => {
    expect((await createProgram(typed.split(" "))).args).toEqual(meant.split(" "));
  });

  test.each([
    ["ps", /there is no command 'ps' here/, /bitnet serve/],
    ["stop", /no command/, /bitnet serve/],
    ["codegen-tl2", /no command/, /bitnet convert/],
    ["huggingface-cli", /no command/, /bitnet pull/],
    ["generate.py", /no command/, /CPU/],
    ["llama-gguf-split", /no command/, /bitnet convert/],
    ["utils/codegen_tl1.py", /no command/, /bitnet convert/],
    ["quantize_embeddings.py", /no command/, /bitnet convert/],
    ["test_power.sh", /no command/, /bitnet bench/],
    ["tune_gemm_config.py", /no command/, /bitnet tune/],
    ["test_gemm_kernel.sh", /no command/, /bitnet bench kernels/],
    ["constructor", /unknown command 'constructor'/, /see bitnet --help/],
    ["runn", /unknown command 'runn'/, /did you mean run\?/],
    ["-m", /expected a command before '-m'/, /bitnet run/],
  ])("bitnet %s ends with 2 and one line that goes on", async (typed, message, hint) => {
    const { status, stdout, stderr } = await runBitnet([typed]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(new RegExp(`^error: .*${message.source}.*\nhint: .*${hint.source}.*\n$`));
  });

  test("quantize tells switches of convert from options with values", async () => {
    const convert = commandsBelow(await loadProgram()).find((command) => command.name() === "convert");
    const switches = convert?.options.filter(({ required, optional }) => !required && !optional) ?? [];
    for (const { long } of switches.filter(({ hidden }) => !hidden)) {
      const { args } = await createProgram(["quantize", long ?? "", "in.gguf", "I2_S"]);
      expect(args).toEqual(["convert", long, "in.gguf", "--outtype", "I2_S"]);
    }
  });

  test("every instead names a command that there is", async () => {
    const text = readFileSync(join(root, "src/cli/other-programs.ts"), "utf8");
    const names = commandsBelow(await loadProgram()).flatMap((command) => [command.name(), ...command.aliases()]);
    const named = [...text.matchAll(/bitnet (\w[\w-]*)/g)].map(([, name]) => name);
    expect(named.length).toBeGreaterThan(5);
    expect(names).toEqual(expect.arrayContaining(named));
  });
});

describe("bitnet version", () => {
  test("is one line, with --verbose all that a report about a fault needs", async () => {
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    expect((await runBitnet(["version"])).stdout).toBe(`${version}\n`);
    const { stdout } = await runBitnet(["--version", "--verbose"], { env: { BITNET_KERNEL: "scalar" } });
    expect(stdout).toMatch(/^version +\d+\.\d+/m);
    expect(stdout).toMatch(/^kernel +scalar$/m);
    expect(stdout).toMatch(/^kernels +.*scalar/m);
    expect(stdout).toMatch(/^compiler +(GCC|Clang) \d/m);
    expect(stdout).toMatch(/^addon +.*bitnet\.node$/m);
    expect(stdout).toMatch(/^models +\//m);
  });

  test("has a JSON form", async () => {
    const about = JSON.parse((await runBitnet(["version", "--json"])).stdout);
    expect(about).toMatchObject({ node: process.version, cores: expect.any(Number), kernels: expect.any(Array) });
  });
});

describe("colours", () => {
  const nonsense = async (args: string[], env = {}) =>
    (await runBitnet(["run", ...args, "--nonsense"], { env })).stderr.includes("\u001b[");
  test.each([
    [["--color", "always"], {}, true],
    [["--color=always"], { NO_COLOR: "1" }, true],
    [["--color"], {}, false],
    [["-co", "on"], {}, true],
    [["--color", "never"], { FORCE_COLOR: "1" }, false],
    [["--no-color"], { FORCE_COLOR: "1" }, false],
    [["--color", "auto"], {}, false],
    [["--color", "auto"], { FORCE_COLOR: "1" }, true],
  ])("with %j and %j: %s", async (args, env, coloured) => {
    expect(await nonsense(args, env)).toBe(coloured);
  });

  test("come from a variable as well", async () => {
    const { stderr } = await runBitnet(["run", "-m", "/nowhere", "-p", "x"], { env: { BITNET_COLOR: "always" } });
    expect(stderr).toContain("\u001b[");
  });
});

describe("help", async () => {
  const names = [await loadProgram()]
    .flatMap((program) => [program, ...commandsBelow(program)])
    .map(({ path }) => path);
  const cases = names.flatMap((name) => [60, 80, 120].map((columns) => [name, columns] as const));
  afterEach(() => vi.unstubAllEnvs());

  test.each(cases)("%s --help fits %d columns", async (name, columns) => {
    vi.stubEnv("COLUMNS", String(columns));
    const program = await loadProgram();
    const command = [program, ...commandsBelow(program)].find(({ path }) => path === name) ?? program;
    let help = "";
    command.configureOutput({ getOutHasColors: () => false, writeOut: (text) => (help += text) });
    command.outputHelp();
    expect(help).toMatch(/^Usage: bitnet/m);
    expect(help.split("\n").filter((line) => line.length > columns)).toEqual([]);
    expect(help).not.toContain(root);
    expect(help).not.toMatch(/\(default\).*\(default|\(default[^)]*\) \(default/);
    expect(help).not.toMatch(/ +$/m);
  });

  test.each([
    ['$ bitnet x -p "a b c" -n 3', 80, '  $ bitnet x -p "a b c" -n 3'],
    ['$ bitnet x -p "a b c" -n 3', 24, '  $ bitnet x \\\n      -p "a b c" -n 3'],
    ["$ bitnet x    # what it is", 80, "  $ bitnet x    # what it is"],
    ["$ bitnet x    # what it is", 20, "  # what it is\n  $ bitnet x"],
    ["$ a --quiet --list 1,2 > file", 22, "  $ a --quiet \\\n      --list 1,2 \\\n      > file"],
  ])("wraps the example %j to %d columns as a shell takes it", (example, width, expected) => {
    expect(wrapCommand(example, width, "  ")).toBe(expected);
  });

  test("is bold in its headings, where there are colours", async () => {
    const { stdout } = await runBitnet(["run", "--help"], { env: { FORCE_COLOR: "1" } });
    expect(stdout).toContain("\u001b[1mSampling:\u001b[22m");
    expect((await runBitnet(["run", "--help"])).stdout).not.toContain("\u001b");
  });
});
