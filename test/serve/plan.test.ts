// What fits into a given memory.

import { describe, expect, test } from "vitest";
import { openGguf } from "../../src/gguf/gguf.js";
import { type PlanOptions, planMemory } from "../../src/serve/plan.js";
import { runBitnet, tinyModel } from "../support/fixtures.js";

const MiB = 2 ** 20;
const gguf = openGguf(tinyModel);
const plan = (options: PlanOptions) => planMemory(gguf, options);

describe("planMemory", () => {
  test("adds up to no more than the memory, and one more request would not fit", () => {
    for (const memory of [70, 75, 80, 100, 200]) {
      for (const cacheType of ["f16", "q8"] as const) {
        const memoryBytes = memory * MiB;
        const { chosen, smallestBytes } = plan({ memoryBytes, cacheType });
        if (chosen === undefined) {
          expect(plan({ memoryBytes, cacheType: "q8" }).smallestBytes).toBe(smallestBytes);
          continue;
        }
        expect(chosen.totalBytes).toBeLessThanOrEqual(memoryBytes);
        const { cacheBytes, parallel } = chosen;
        expect(parallel === 64 || chosen.totalBytes + cacheBytes / parallel > memoryBytes).toBe(true);
      }
    }
  });

  test("8-bit keys and values take about half, so that twice as many fit", () => {
    const [f16, q8] = (["f16", "q8"] as const).map((cacheType) => plan({ memoryBytes: 80 * MiB, cacheType }));
    expect((q8?.tokenBytes ?? 0) / (f16?.tokenBytes ?? 1)).toBeCloseTo(0.52, 1);
    for (const { parallel } of f16?.table ?? []) {
      expect(parallel.q8 === 64 || parallel.q8 >= 2 * parallel.f16 - 1).toBe(true);
    }
  });

  test("takes the context that is asked for, and tells the least memory where nothing fits", () => {
    expect(plan({ memoryBytes: 1000 * MiB, contextSize: 256, parallel: 3 }).chosen).toMatchObject({
      contextSize: 256,
      parallel: 3,
    });
    const none = plan({ memoryBytes: 10 * MiB });
    expect(none.chosen).toBeUndefined();
    expect(plan({ memoryBytes: none.smallestBytes, cacheType: "q8" }).chosen?.parallel).toBe(1);
  });
});

describe("bitnet plan", () => {
  test("ends with 1 where the model does not fit, and says what would", async () => {
    const { status, stdout } = await runBitnet(["plan", "--memory", "16"]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/does not fit: the least is [\d.]+ MB/);
  });

  test("prints JSON", async () => {
    const { status, stdout } = await runBitnet(["plan", "--memory", "500", "--json"]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout).chosen.contextSize).toBe(512);
  });
});
