// Presets of bitnet serve: values for what nobody has set.

import { Command } from "commander";
import { afterEach, describe, expect, test } from "vitest";
import { addOptions } from "../../src/cli/option-rows.js";
import { findServeProblem, readServe, serveGroups } from "../../src/cli/serve-options.js";
import { applyPresets, describePresets, presets, securityLevels } from "../../src/cli/serve-presets.js";

/** The server's options of a command line. */
function optionsOf(...args: string[]) {
  const command = new Command("serve");
  const read = addOptions(command, serveGroups());
  command.exitOverride().parse(args, { from: "user" });
  applyPresets(command, read().presets);
  const values = read();
  return { options: readServe(values, "model.gguf"), problem: findServeProblem(values) };
}

afterEach(() => {
  process.exitCode = undefined;
});

describe("a preset", () => {
  test("production has the limits of a service", () => {
    expect(optionsOf("--preset", "production").options).toMatchObject({
      ...{ parallel: 10, requestTimeout: 30, maxPredict: 256, contextSize: 2048, truncateInput: true },
      ...{ responseCacheBytes: 64 * 2 ** 20, logFile: "bitnet-serve.log" },
      sampling: { temperature: 0.7, topP: 0.9 },
    });
  });

  test("of a device has its threads, at most those that there are, and its memory", () => {
    const { options } = optionsOf("--preset", "mobile");
    expect(options).toMatchObject({ parallel: 2, cacheType: "q8", maxPredict: 100, alerts: { memory: 512 } });
    expect(options.load.threads).toBeLessThanOrEqual(2);
    expect((options.kvBytes ?? 0) + (options.promptCacheBytes ?? 0)).toBe(112 * 2 ** 20);
    const requests = { edge: 12, server: 32, cloud: 73 };
    for (const [name, parallel] of Object.entries(requests)) {
      expect(optionsOf("--preset", name).options.parallel).toBe(parallel);
    }
  });

  test("gives way to what is typed", () => {
    const { options } = optionsOf("--parallel", "3", "--preset", "production", "--temp", "0", "-n", "12");
    expect(options).toMatchObject({
      parallel: 3,
      maxPredict: 12,
      requestTimeout: 30,
      sampling: { temperature: 0, topP: 0.9 },
    });
  });

  test("gives way to the security level, which has bounds, limits, filter and audit log", () => {
    const { options } = optionsOf("--security", "strict", "--preset", "production");
    expect(options).toMatchObject({
      ...{ maxInputChars: 4096, maxPredict: 1024, requestsPerMinute: 60, contentFilter: "strict", parallel: 10 },
      auditLog: "bitnet-audit.jsonl",
      sampling: { repeatPenalty: 1.05 },
    });
  });

  test("is in the help with what it is", () => {
    for (const name of [...Object.keys(presets), ...Object.keys(securityLevels)]) {
      expect(describePresets()).toMatch(new RegExp(`--(preset|security) ${name} `));
    }
    expect(
      Math.max(
        ...describePresets()
          .split("\n")
          .map((line) => line.length),
      ),
    ).toBeLessThanOrEqual(80);
  });

  test("without one, everything is as the server has it", () => {
    expect(optionsOf().options).toMatchObject({ requestsPerMinute: 0, responseCacheBytes: 0, alerts: {}, apiKeys: [] });
    expect(optionsOf("--alert", "memory=2048,cpu=off", "--alert", "latency=1").options.alerts).toEqual({
      ...{ memory: 2048, cpu: undefined, latency: 1 },
    });
    expect(optionsOf("--host", "0.0.0.0").problem).toContain("--insecure");
    expect(optionsOf("--host", "0.0.0.0", "--api-key", "a,b").problem).toBeUndefined();
  });
});
