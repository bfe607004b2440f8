// bitnet tune: the search with invented measurements, the file that keeps its result and what of it a model takes, and
// the command. No test depends on how fast anything is.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { type Phase, type Settings, type Step, searchSettings } from "../../src/bench/search.js";
import { defaultSettings, describeEntry, listSteps, listThreads } from "../../src/bench/tune.js";
import { formatTrial } from "../../src/cli/commands/tune.js";
import { loadModel } from "../../src/engine/model.js";
import {
  applyTuning,
  defaultThreads,
  findTuningFile,
  readTuning,
  resetTuning,
  saveTuning,
  supportedKernels,
  type TuningEntry,
} from "../../src/engine/tuning.js";
import { loadAddon } from "../../src/native/addon.js";
import { machineKey } from "../../src/native/machine.js";
import { at } from "../../src/system/at.js";
import { withFolder } from "../support/checkpoints.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";
import { createRandom } from "../support/random.js";

const start: Settings = {
  kernel: "plain",
  threads: 4,
  parameters: {
    batchRows: 96,
    decodeRows: 16,
    prefetchBytes: 8192,
    blockBytes: 393216,
    tileTokens: 8,
    spinMicroseconds: 300,
  },
};

const steps: Step[] = [
  {
    name: "kernel",
    phases: ["prefill", "decode"],
    values: ["plain", "fast"],
    get: ({ kernel }) => kernel,
    set: (settings, kernel) => ({ ...settings, kernel: String(kernel) }),
  },
  parameter("batchRows", ["prefill"], [96, 192, 288, 384, 768]),
  parameter("decodeRows", ["decode"], [4, 8, 16, 32, 64]),
];

function parameter(name: "batchRows" | "decodeRows", phases: Phase[], values: number[]): Step {
  return {
    name,
    phases,
    values,
    get: ({ parameters }) => parameters[name],
    set: (settings, value) => ({ ...settings, parameters: { ...settings.parameters, [name]: Number(value) } }),
  };
}

/** Seconds with normal noise of a relative `deviation`, and now and then one that something else held up. */
function noisy(seconds: number, deviation: number, random: () => number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return seconds * Math.exp(deviation * normal) * (random() < 0.05 ? 2 : 1);
}

const thorough = { repetitions: 5, quick: false };

describe("the search", () => {
  /** Fastest with the kernel "fast", batches of 288 rows and decoding by 32 rows, which is best only with that kernel. */
  function seconds({ kernel, parameters }: Settings, phase: Phase): number {
    const base = kernel === "fast" ? 0.8 : 1;
    const rows = 0.05 * Math.abs(Math.log2(parameters.batchRows / 288));
    const few = 0.05 * Math.abs(Math.log2(parameters.decodeRows / (kernel === "fast" ? 32 : 8)));
    return base * (1 + (phase === "prefill" ? rows : phase === "decode" ? few : 0));
  }

  test("finds a planted optimum, and says what it gained", async () => {
    const result = await searchSettings(start, steps, async (settings, phase) => seconds(settings, phase), thorough);
    expect(result.settings).toEqual({
      ...start,
      kernel: "fast",
      parameters: { ...start.parameters, batchRows: 288, decodeRows: 32 },
    });
    const decode = result.comparisons.find(({ phase }) => phase === "decode");
    expect(decode?.gain).toBeCloseTo(1.05 / 0.8 - 1, 6);
    expect(result.trials.filter(({ adopted }) => adopted).map(({ step, to }) => [step, to])).toEqual(
      expect.arrayContaining([
        ["kernel", "fast"],
        ["batchRows", 288],
        ["decodeRows", 32],
      ]),
    );
  });

  test("finds it under noise, too", async () => {
    let found = 0;
    for (let seed = 0; seed < 40; seed++) {
      const random = createRandom(seed);
      const measure = async (settings: Settings, phase: Phase) => noisy(seconds(settings, phase), 0.01, random);
      const { settings } = await searchSettings(start, steps, measure, { repetitions: 9, quick: false });
      found += Number(settings.kernel === "fast" && settings.parameters.batchRows === 288);
    }
    expect(found).toBeGreaterThanOrEqual(32);
  });

  test("is not fooled by noise: where all settings are the same, the defaults stay", async () => {
    for (const deviation of [0, 0.01, 0.05, 0.2]) {
      let fooled = 0;
      let adopted = 0;
      for (let seed = 0; seed < 200; seed++) {
        const random = createRandom(seed);
        const measure = async () => noisy(1, deviation, random);
        const { settings, trials } = await searchSettings(start, steps, measure, thorough);
        fooled += Number(settings !== start);
        adopted += trials.filter((trial) => trial.adopted).length;
      }
      // Of about 1800 candidates each time; without the second comparison it would be 60 and more.
      expect({ deviation, fooled, few: adopted <= 10 }).toEqual({ deviation, fooled: 0, few: true });
    }
  });

  test("drops what costs more elsewhere than it gains where it was tried", async () => {
    const measure = async ({ parameters }: Settings, phase: Phase) =>
      parameters.decodeRows === 16 ? 1 : phase === "decode" ? 0.9 : 1.5;
    const { settings, trials, comparisons } = await searchSettings(start, steps, measure, thorough);
    expect(trials.some(({ adopted }) => adopted)).toBe(true);
    expect(settings).toBe(start);
    expect(comparisons.map(({ gain }) => gain)).toEqual([0, 0, 0]);
  });

  test("is not fooled by a machine that becomes faster and faster", async () => {
    let now = 0;
    const measure = async () => 0.99 ** now++;
    expect((await searchSettings(start, steps, measure, thorough)).settings).toBe(start);
  });

  test("wastes no time on what is clearly slower, and quick looks only at the neighbours", async () => {
    const runs: string[] = [];
    const measure = async (settings: Settings, phase: Phase) => {
      runs.push(`${phase} ${settings.kernel} ${settings.parameters.batchRows} ${settings.parameters.decodeRows}`);
      return JSON.stringify(settings) === JSON.stringify(start) ? 1 : 2;
    };
    const { trials } = await searchSettings(start, steps, measure, { repetitions: 5, quick: true });
    expect(trials.map(({ step, to }) => `${step} ${to}`)).toEqual([
      "kernel fast",
      "batchRows 192",
      "decodeRows 8",
      "decodeRows 32",
    ]);
    expect(runs.filter((run) => run === "prefill plain 192 16")).toHaveLength(2);
    expect(runs.filter((run) => run === "decode plain 192 16")).toEqual([]); // no matter for decoding
  });

  test("quick looks at every value of a setting that is known to have several hills, such as prefetchBytes", async () => {
    const speeds = new Map([8, 16, 32, 64].map((value, i) => [value, at([1.2, 1, 0.9, 1.3], i)]));
    const hilly = steps
      .filter(({ name }) => name === "decodeRows")
      .map((step) => ({ ...step, values: [...speeds.keys()], hasSeveralHills: true }));
    const measure = async ({ parameters }: Settings) => 1 / (speeds.get(parameters.decodeRows) ?? 0.1);
    const { settings } = await searchSettings(start, hilly, measure, { repetitions: 5, quick: true });
    expect(settings.parameters.decodeRows).toBe(64);
    const prefetch = listSteps(start, {}).find(({ name }) => name === "prefetchBytes");
    expect(prefetch?.hasSeveralHills).toBe(true);
  });

  test("ends when it is told to", async () => {
    const controller = new AbortController();
    const measure = async () => {
      controller.abort();
      return 1;
    };
    await expect(
      searchSettings(start, steps, measure, { ...thorough, signal: controller.signal }),
    ).rejects.toMatchObject({ code: "ABORTED" });
  });

  test("covers every parameter of the core, with its default among values that the core takes", () => {
    const settings = { ...defaultSettings({}), kernel: "amx", threads: 8 };
    const found = listSteps(settings, {});
    for (const { name, least, most, step, standard } of loadAddon().tuningParameters()) {
      const values = found.find((entry) => entry.name === name)?.values ?? [];
      expect(values).toContain(standard);
      expect(values.every((n) => Number(n) >= least && Number(n) <= most && Number(n) % step === 0)).toBe(true);
    }
    expect(found.find(({ name }) => name === "threads")?.values).toEqual(listThreads(8));
    expect(listSteps(settings, { threads: 8 }).map(({ name }) => name)).not.toContain("threads");
  });

  test("tries all cores, one less, and fractions", () => {
    expect(listThreads(1)).toEqual([1]);
    expect(listThreads(2)).toEqual([2, 1]);
    expect(listThreads(64)).toEqual([64, 63, 56, 48, 40, 32, 24, 16]);
  });
});

const entry: TuningEntry = {
  threads: 1,
  parameters: { batchRows: 288, spinMicroseconds: 50 },
  tunedKernel: supportedKernels()[0] ?? "",
  tunedAt: "2026-01-01T00:00:00.000Z",
};

function writeEntry(path: string, value: unknown, key = machineKey()): void {
  writeFileSync(path, JSON.stringify({ format: "bitnet-tuning", entries: { [key]: value } }));
}

describe("the tuning file", () => {
  test("is where no cleaner of caches deletes it, or where BITNET_TUNING says", () => {
    expect(findTuningFile({ XDG_STATE_HOME: "/state" })).toBe(join("/state", "bitnet", "tuning.json"));
    expect(findTuningFile({ BITNET_TUNING: "/a/b.json", XDG_STATE_HOME: "/state" })).toBe("/a/b.json");
    expect(findTuningFile({ BITNET_TUNING: "none" })).toBeUndefined();
    expect(findTuningFile({})).toMatch(/\.bitnet.tuning\.json$/);
  });

  test("of earlier versions, in the cache, is read until there is a new one, which takes over its entries", async () => {
    await withFolder(async (folder) => {
      vi.stubEnv("BITNET_TUNING", "");
      vi.stubEnv("XDG_STATE_HOME", join(folder, "state"));
      vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
      try {
        const earlier = join(folder, "cache", "bitnet", "tuning.json");
        await saveTuning(earlier, { ...entry, threads: 2 }, "another machine");
        await saveTuning(earlier, entry);
        const path = findTuningFile() ?? "";
        expect(await readTuning(path)).toMatchObject(entry);
        expect(await applyTuning({})).toMatchObject({ applied: { file: path } });
        expect(await resetTuning(path)).toBe(true);
        expect(await readTuning(path)).toBeUndefined();
        expect(await readTuning(path, "another machine")).toMatchObject({ tunedKernel: entry.tunedKernel });
      } finally {
        vi.unstubAllEnvs();
      }
    });
  });

  test("keeps the entries of other machines, makes its folder, and leaves nothing half-written", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "new", "tuning.json");
      expect(await readTuning(path)).toBeUndefined();
      await saveTuning(path, { ...entry, threads: 3 }, "another machine");
      await saveTuning(path, entry);
      expect(await readTuning(path)).toEqual({ ...entry, kernel: undefined });
      expect(readdirSync(join(folder, "new"))).toEqual(["tuning.json"]);
      expect(await resetTuning(path)).toBe(true);
      expect(await resetTuning(path)).toBe(false);
      expect(await readTuning(path)).toBeUndefined();
      expect(JSON.parse(readFileSync(path, "utf8")).entries).toEqual({ "another machine": { ...entry, threads: 3 } });
    });
  });

  test("keeps what several write at the same time", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "tuning.json");
      const machines = ["a", "b", "c", "d", "e"];
      await Promise.all(machines.map((machine) => saveTuning(path, entry, machine)));
      expect(Object.keys(JSON.parse(readFileSync(path, "utf8")).entries).sort()).toEqual(machines);
      expect(readdirSync(folder)).toEqual(["tuning.json"]);
    });
  });

  test("takes a machine of any name", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "tuning.json");
      expect(await readTuning(path, "__proto__")).toBeUndefined();
      await saveTuning(path, entry, "__proto__");
      expect(await readTuning(path, "__proto__")).toMatchObject(entry);
      expect(await readTuning(path, "toString")).toBeUndefined();
    });
  });

  test("brings values into their bounds, and leaves out what is no value", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "tuning.json");
      const parameters = { batchRows: 1e300, decodeRows: -5, prefetchBytes: "9", blockBytes: 100_000.7, other: 1 };
      writeEntry(path, { ...entry, kernel: "bogus", threads: 1e9, parameters });
      const read = await readTuning(path);
      expect(read).toMatchObject({ kernel: undefined, threads: loadAddon().physicalCores() });
      expect(read?.parameters).toEqual({ batchRows: 96 * 64, decodeRows: 32, blockBytes: 98 * 1024 });
    });
  });

  test("never stops a model from loading, whatever is in it", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "tuning.json");
      const env = { BITNET_TUNING: path };
      const bad = ["", "{", "[]", "null", '{"format":"other","entries":{}}', " ".repeat(2 ** 20 + 1)];
      for (const text of bad) {
        writeFileSync(path, text);
        expect(await applyTuning({}, env)).toEqual({ options: {} });
        await expect(readTuning(path)).rejects.toMatchObject({ code: "BAD_FILE" });
      }
      expect(await applyTuning({}, { BITNET_TUNING: folder })).toEqual({ options: {} });
      expect(await applyTuning({}, { BITNET_TUNING: "/dev/zero" })).toEqual({ options: {} });
      await fc.assert(
        fc.asyncProperty(fc.jsonValue(), fc.jsonValue(), async (value, parameters) => {
          for (const written of [value, { ...entry, threads: value, kernel: parameters, parameters }]) {
            writeEntry(path, written);
            const { options } = await applyTuning({}, env);
            const loaded = await loadAddon().loadModel(tinyModel, options); // the core checks the bounds
            loaded.close();
          }
        }),
        { numRuns: 15 },
      );
    });
  });

  test("a damaged one is replaced by the next tuning", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "tuning.json");
      writeFileSync(path, "{");
      await saveTuning(path, entry);
      expect(await readTuning(path)).toMatchObject(entry);
    });
  });
});

describe("what a model takes from the file", () => {
  const slow = "scalar"; // every CPU has it
  async function withEntry(value: TuningEntry, body: (env: NodeJS.ProcessEnv, file: string) => Promise<void>) {
    await withFolder(async (folder) => {
      const path = join(folder, "tuning.json");
      await saveTuning(path, value);
      await body({ BITNET_TUNING: path }, path);
    });
  }

  test("everything, where nothing is said", async () => {
    const kernel = { ...entry, kernel: slow, tunedKernel: slow };
    await withEntry(kernel, async (env, file) => {
      const { parameters } = entry;
      expect(await applyTuning({}, env)).toEqual({
        options: { kernel: slow, threads: 1, tuning: parameters },
        applied: { file, kernel: slow, threads: 1, parameters },
      });
      expect(await defaultThreads(env)).toBe(1);
    });
  });

  test("threads and kernel that are given win; parameters that were found with another kernel do not apply", async () => {
    await withEntry({ ...entry, kernel: slow, tunedKernel: slow }, async (env) => {
      expect((await applyTuning({ threads: 2 }, env)).options).toEqual({
        kernel: slow,
        threads: 2,
        tuning: entry.parameters,
      });
      const best = supportedKernels()[0] ?? "";
      for (const { options } of [
        await applyTuning({ kernel: best }, env),
        await applyTuning({}, { ...env, BITNET_KERNEL: best }),
      ]) {
        expect(options.kernel).not.toBe(slow);
        expect(options.tuning).toEqual(best === slow ? entry.parameters : {});
      }
    });
  });

  test("nothing with BITNET_TUNING=none, with a tuning of one's own, or if the defaults were the best", async () => {
    await withEntry(entry, async (env) => {
      expect(await applyTuning({}, { BITNET_TUNING: "none" })).toEqual({ options: {} });
      expect(await applyTuning({ tuning: {} }, env)).toEqual({ options: { tuning: {} } });
    });
    await withEntry({ ...entry, threads: undefined, parameters: {} }, async (env) => {
      expect(await applyTuning({}, env)).toEqual({ options: {} });
    });
  });

  test("an entry has only what differs from the defaults", () => {
    const settings = defaultSettings({});
    expect(describeEntry(settings, settings)).toEqual({
      parameters: {},
      tunedKernel: settings.kernel,
      tunedAt: expect.any(String),
    });
    const changed = { ...settings, threads: 99, parameters: { ...settings.parameters, decodeRows: 4 } };
    expect(describeEntry(changed, settings)).toMatchObject({ threads: 99, parameters: { decodeRows: 4 } });
  });

  test("loadModel refuses a tuning of one's own that is out of bounds", async () => {
    await expect(loadModel(tinyModel, { tuning: { batchRows: 95 } })).rejects.toMatchObject({ code: "USAGE" });
    await expect(loadModel(tinyModel, { tuning: { blockBytes: Number.NaN } })).rejects.toMatchObject({ code: "USAGE" });
    await using model = await loadModel(tinyModel, { tuning: { batchRows: 96 } });
    expect(model.tuning).toBeUndefined();
  });
});

describe("bitnet tune", () => {
  const tiny = ["tune", "-m", tinyModel, "--quick", "-p", "4", "-n", "1", "-r", "1"];

  test("--dry-run measures, prints a table and saves nothing", async () => {
    await withFolder(async (folder) => {
      const { status, stdout, stderr } = await runBitnet([...tiny, "--dry-run"], {
        env: { BITNET_TUNING: join(folder, "tuning.json") },
      });
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(stdout).toMatch(/^bitnet .*\n\n\| test +\| t\/s before \| t\/s after \| +gain \|\n/);
      expect(stdout).toMatch(/\| prefill, 4 tokens .*\n\| prefill, 2 to 24 tokens .*\n\| decode, 1 tokens .*\n/);
      expect(stdout).toMatch(/best here\b|Best here: /i);
      expect(stdout).toMatch(/Nothing was saved\.\n$/);
      expect(stderr).toMatch(/^batchRows 96 -> 192: [+-][\d.]+ %/m);
      expect(stderr).toMatch(/note: the weights of .* fit in caches/);
      expect(readdirSync(folder)).toEqual([]);
    });
  });

  test("saves what run and bench then use and say, with the same text; --reset forgets it", async () => {
    await withFolder(async (folder) => {
      const file = join(folder, "tuning.json");
      const env = { BITNET_TUNING: file };
      const tuned = await runBitnet([...tiny, "--json"], { env });
      expect(tuned.status).toBe(0);
      expect(JSON.parse(tuned.stdout)).toMatchObject({ file, entry: { parameters: {} }, trials: expect.any(Array) });
      expect(await readTuning(file)).toBeDefined();

      await saveTuning(file, entry); // whatever was found
      const story = ["run", "-p", "Once upon a time", "-n", "8", "--temp", "0", "--json", "--quiet", "-m", tinyModel];
      const [plain, used] = [await runBitnet(story), await runBitnet(story, { env })].map(({ stdout }) =>
        JSON.parse(stdout),
      );
      expect(plain.tuning).toBeNull();
      expect(used).toMatchObject({ tuning: { file, threads: 1, parameters: entry.parameters }, model: { threads: 1 } });
      expect(used.text).toBe(plain.text);
      const bench = ["bench", "-m", tinyModel, "-p", "4", "-n", "1", "-r", "1", "--no-roofline"];
      expect((await runBitnet(bench, { env })).stdout).toContain(`Tuned with ${file} `);
      expect((await runBitnet(bench)).stdout).not.toContain("Tuned with");

      expect((await runBitnet(["tune", "--reset"], { env })).stdout).toContain(file);
      expect(await readTuning(file)).toBeUndefined();
      expect((await runBitnet(["tune", "--reset"], { env })).stdout).toContain("nothing to forget");
    });
  });

  test("a damaged file is ignored by the other commands, with one line for who debugs", async () => {
    await withFolder(async (folder) => {
      const file = join(folder, "tuning.json");
      writeFileSync(file, "{");
      const story = ["run", "-p", "Once", "-n", "2", "--quiet", "-m", tinyModel];
      const quiet = await runBitnet(story, { env: { BITNET_TUNING: file } });
      expect(quiet).toMatchObject({ status: 0, stderr: "" });
      const { status, stderr } = await runBitnet(story, { env: { BITNET_TUNING: file, NODE_DEBUG: "bitnet" } });
      expect(status).toBe(0);
      expect(stderr).toMatch(/^BITNET \d+: the tuning file is ignored: .*tuning\.json: it is not a tuning file\n$/);
    });
  });

  test("says what it cannot do before it measures", async () => {
    const many = await runBitnet([...tiny, "--dry-run", "-t", "1024"]);
    expect(many).toMatchObject({ status: 1, stderr: expect.stringMatching(/^error: expected at most \d+ threads/) });
    const { status, stderr } = await runBitnet(["tune"], { env: { BITNET_TUNING: "none" } });
    expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringMatching(/--output FILE/) });
    await withFolder(async (folder) => {
      mkdirSync(join(folder, "tuning.json"));
      const env = { BITNET_TUNING: join(folder, "tuning.json") };
      const { status, stderr } = await runBitnet(tiny, { env });
      expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringMatching(/^error: .*directory/) });
    });
  });
});

test("a screen of tuning says what became of each gain", () => {
  const trial = { step: "threads", from: 1, to: 2, gain: 0.638 };
  expect(formatTrial({ ...trial, adopted: false })).toBe("threads 1 -> 2: +63.8 %, not confirmed");
  expect(formatTrial({ ...trial, adopted: true })).toBe("threads 1 -> 2: +63.8 %, adopted");
  expect(formatTrial({ ...trial, gain: -0.02, adopted: false })).toBe("threads 1 -> 2: -2.0 %");
});
