// The parts of the trainer that are functions of their arguments.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { formatStep } from "../../src/cli/training-progress.js";
import { drawLosses } from "../../src/train/loss-plot.js";
import { fitTraining } from "../../src/train/memory.js";
import { ratesOf, type Schedule } from "../../src/train/schedule.js";
import { resolveSettings, scheduleOf } from "../../src/train/settings.js";
import { crc32c, EventFile } from "../../src/train/tensorboard.js";
import type { StepReport } from "../../src/train/trainer.js";
import { root } from "../support/fixtures.js";

const scratch = mkdtempSync(join(tmpdir(), "bitnet-trainer-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const schedule: Schedule = {
  ...{ scheduler: "linear", lr: 1, lr2: 0.5, split: 0.5, warmupSteps: 10, weightDecay: 0.1, steps: 110 },
};
const lrs = (over: Partial<Schedule>, ...steps: number[]) =>
  steps.map((step) => ratesOf({ ...schedule, ...over }, step).lr);

describe("schedules", () => {
  it("rise in a line and fall to 0 behind the last step", () => {
    expect(lrs({}, 0, 4, 9, 10, 60, 109)).toEqual([0.1, 0.5, 1, 1, 0.5, expect.closeTo(0.01, 12)]);
    expect(lrs({ scheduler: "cosine" }, 10, 60)).toEqual([1, expect.closeTo(0.5, 12)]);
    expect(lrs({ scheduler: "constant" }, 5, 50, 109)).toEqual([0.6, 1, 1]);
    expect(lrs({ warmupSteps: 0 }, 0)).toEqual([1]);
  });

  it("of two stages are those of the makers of BitNet: 3e-3 to 1.5e-3 with decay, then 1e-3 to 0 without", () => {
    const two = scheduleOf(resolveSettings("new", { warmupSteps: 0 }), 3200);
    const at = (step: number) => ratesOf(two, step);
    expect(at(0)).toEqual({ lr: 3e-3, weightDecay: 0.1, stage: 1 });
    expect(at(1599).lr).toBeCloseTo(1.5e-3, 5);
    expect(at(1600)).toEqual({ lr: 1e-3, weightDecay: 0, stage: 2 });
    expect(at(3199).lr).toBeLessThan(1e-6);
  });

  it("warm up for a tenth of the steps, and 100 at most", () => {
    const warmup = (steps: number) => scheduleOf(resolveSettings("lora", {}), steps).warmupSteps;
    expect([warmup(15), warmup(500), warmup(5000)]).toEqual([1, 50, 100]);
  });
});

it("settings out of their range are told by name", () => {
  expect(() => resolveSettings("lora", { epochs: 0 })).toThrow(/^epochs: expected a number from .* got 0$/);
  expect(() => resolveSettings("lora", { batchSize: 1.5 })).toThrow(
    "batchSize: expected an integer from 1 to 65536, got 1.5",
  );
  expect(resolveSettings("full", { lr: undefined })).toMatchObject({ lr: 2e-4, beta2: 0.95 });
});

describe("a training that does not fit into memory", () => {
  const source = { checkpoint: join(root, "test/fixtures/train/bitnet") };
  const options = { mode: "full", seed: 1, maxLength: 4096, threads: 1 } as const;

  it("is computed with checkpointing where that fits", async () => {
    const free = await fitTraining(source, options, "off", 1e12);
    const tight = await fitTraining(source, options, "auto", free.plan.total - 1);
    expect(tight.checkpointing).toBe(true);
    expect(tight.plan.total).toBeLessThan(free.plan.total);
    expect((await fitTraining(source, options, "auto", 1e12)).checkpointing).toBe(false);
  });

  it("is refused with the longest rows that fit", async () => {
    const half = (await fitTraining(source, { ...options, maxLength: 2048 }, "on", 1e12)).plan.total;
    const refusal: unknown = await fitTraining(source, options, "auto", half).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "NO_MEMORY", message: expect.stringContaining("needs 0.0") });
    const { hint = "" } = refusal as { hint?: string };
    const length = Number(/--max-seq-length (\d+)/.exec(hint)?.[1]);
    expect(length).toBeGreaterThan(1900);
    expect(length).toBeLessThanOrEqual(2048);
    await expect(fitTraining(source, options, "on", 1000)).rejects.toMatchObject({
      hint: expect.stringContaining("adapter"),
    });
  });
});

describe("files of TensorBoard", () => {
  it("have the checksums of CRC-32C", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
  });

  it("are records of events: the version, the start of a session, figures by name", () => {
    const folder = join(scratch, "runs");
    const file = new EventFile(folder, 300);
    file.scalars(310, { "train/loss": 0.5 });
    file.close();
    const [name = ""] = readdirSync(folder);
    expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\./);
    const records = readRecords(readFileSync(join(folder, name)));
    expect(records).toHaveLength(3);
    expect(records[0]?.subarray(9).toString("latin1")).toBe("\x10\x00\x1a\x0dbrain.Event:2");
    expect(records[1]?.subarray(9).toString("hex")).toBe("10ac023a020801");
    const value = Buffer.from([0x0a, 10, ...Buffer.from("train/loss"), 0x15, 0, 0, 0, 0x3f]); // tag, then 0.5 as float
    const event = Buffer.from([0x10, 0xb6, 0x02, 0x2a, value.length + 2, 0x0a, value.length, ...value]);
    expect(records[2]?.subarray(9)).toEqual(event);
  });
});

/** Data of records whose masked checksums are right. */
function readRecords(bytes: Buffer): Buffer[] {
  const masked = (data: Buffer) => {
    const crc = crc32c(data);
    return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  };
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 8)).toBe(masked(bytes.subarray(at, at + 8)));
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(masked(data));
    records.push(data);
    at += length + 16;
  }
  return records;
}

it("a picture of the losses has a curve for each figure and no number that is none", () => {
  const log = Array.from({ length: 50 }, (_, i) => {
    return {
      epoch: i / 10,
      step: 10 * (i + 1),
      loss: i === 3 ? Number.NaN : 4 / (i + 1),
      grad_norm: 1,
      learning_rate: 1e-4,
    };
  });
  const evals = [0, 250, 500].map((step) => ({ epoch: 0, step, eval_loss: 3 - step / 250 }));
  const svg = drawLosses([...log, ...evals], "a <model>");
  for (const text of ["train, smoothed", "evaluation", "learning rate", "a &lt;model&gt;", "loss (nats per token)"]) {
    expect(svg).toContain(text);
  }
  expect(svg).not.toContain("NaN");
  expect(svg.match(/<circle/g)).toHaveLength(3);
});

it("a line of progress leaves out what has no room", () => {
  const report: StepReport = {
    ...{ step: 120, steps: 3000, epoch: 0.1, loss: 2.34567, gradNorm: 0.812, lr: 1.2345e-4 },
    ...{ stage: 1, tokensPerSecond: 5123.4, secondsLeft: 3671 },
  };
  expect(formatStep(report, 120)).toBe(
    "step  120/3000  loss 2.3457  lr 1.23e-4  norm 0.812  5,123 tokens/s  1:01:11 left",
  );
  expect(formatStep(report, 80)).toBe("step  120/3000  loss 2.3457  lr 1.23e-4  5,123 tokens/s  1:01:11 left");
  expect(formatStep(report, 60)).toBe("step  120/3000  loss 2.3457  5,123 tokens/s  1:01:11 left");
  expect(formatStep(report, 40)).toBe("step  120/3000  loss 2.3457  1:01:11 left");
});
