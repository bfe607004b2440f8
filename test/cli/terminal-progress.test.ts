// Progress on a terminal of any width, and where there is none.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { formatBar, formatDuration } from "../../src/cli/terminal/bar.js";
import { createProgress } from "../../src/cli/terminal/progress.js";
import { displayWidth } from "../../src/cli/terminal/width.js";
import { FakeStream, renderRows } from "../support/terminal.js";

beforeEach(() => void vi.useFakeTimers({ now: 0 }));
afterEach(() => void vi.useRealTimers());

/** What a terminal shows of everything written so far. */
function rowsOf(stream: FakeStream): string[] {
  return renderRows(stream.written, stream.columns ?? 80).filter((row) => row !== "");
}

/** The terminal wraps the rows that it shows, and the cursor stays behind the last character. */
function resizeTerminal(stream: FakeStream, columns: number): void {
  stream.written = rowsOf(stream).join("\n");
  stream.resize(columns);
}

describe("a bar", () => {
  const line = {
    name: "model-00001-of-00003.safetensors",
    nameWidth: 32,
    done: 540e6,
    total: 1.2e9,
    rate: "17.3 MB/s",
    secondsLeft: 38,
    hasSize: true,
  };

  test.each([
    [20, "model-00001-o…   45%"],
    [30, "model-00001-o…   45%  ETA 0:38"],
    [40, "model-00001…  ████░░░░░░   45%  ETA 0:38"],
    [60, "model-00001…  ████░░░░░░   45%   540 MB  17.3 MB/s  ETA 0:38"],
    [80, "model-00001-of…  ███████░░░░░░░░░   45%   540 MB of 1.20 GB  17.3 MB/s  ETA 0:38"],
    [
      120,
      "model-00001-of-00003.safetensors  █████████████████░░░░░░░░░░░░░░░░░░░░░░   45%   540 MB of 1.20 GB  17.3 MB/s  ETA 0:38",
    ],
  ])("of %d columns says what there is room for", (columns, expected) => {
    expect(formatBar(line, columns).trimEnd()).toBe(expected);
  });

  test.each(["a.bin", "模型-00001-of-00002.safetensors", "weights/e\u0301\u0301👩‍👩‍👧.safetensors", "x".repeat(300)])(
    "of %s never is wider than the terminal",
    (name) => {
      for (let columns = 1; columns <= 200; columns++) {
        for (const [done, secondsLeft] of [
          [0, undefined],
          [540e6, 38],
          [1.2e9, 0],
          [1, 1e9],
        ] as const) {
          const text = formatBar({ ...line, name, nameWidth: displayWidth(name), done, secondsLeft }, columns);
          expect(displayWidth(text)).toBeLessThanOrEqual(columns);
        }
      }
    },
  );

  test("of steps has no sizes", () => {
    expect(formatBar({ ...line, name: "pp512", nameWidth: 5, done: 1, total: 4, hasSize: false }, 40)).toBe(
      "pp512  ████░░░░░░░░░░░░░   25%  ETA 0:38",
    );
  });

  test.each([
    [undefined, "-:--"],
    [0.2, "0:01"],
    [61, "1:01"],
    [3723, "1:02:03"],
    [359_999, "99:59:59"],
    [1e6, "11 days"],
  ])("%s seconds are %s", (seconds, expected) => {
    expect(formatDuration(seconds)).toBe(expected);
  });
});

describe("on a terminal", () => {
  test.each(["bytes", "steps"] as const)("progress of %s may end and begin again", (unit) => {
    const stream = new FakeStream(true);
    const progress = createProgress("working", unit, stream);
    progress.line("before");
    progress.update(1, 4, { name: "first" });
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toEqual(["before", expect.stringMatching(/^first .* 25%/)]);
    progress.stop();
    expect(rowsOf(stream)).toEqual(["before"]);
    const stopped = stream.written.length;
    vi.advanceTimersByTime(1000);
    progress.stop();
    expect(stream.written.length).toBe(stopped);
    progress.update(1, 2, { name: "second" });
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toEqual(["before", expect.stringMatching(/^second .* 50%/)]);
    progress.stop();
  });

  test("one file has one bar, from its first byte to its last", () => {
    const stream = new FakeStream(true);
    const progress = createProgress("downloading", "bytes", stream);
    for (const done of [0, 1, 2, 4]) {
      progress.update(done, 4, { part: "a.bin" });
      progress.update(done, 4);
      vi.advanceTimersByTime(1000);
      expect(rowsOf(stream)).toEqual([expect.stringMatching(/^a\.bin /)]);
    }
    progress.stop();
    expect(rowsOf(stream)).toEqual([]);
  });

  test("a file that is nearly all there is to come has one bar, of the whole", () => {
    const stream = new FakeStream(true);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(100, 400, { part: "a.bin" });
    progress.update(101, 401);
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toEqual([expect.stringMatching(/^a\.bin .*101 B of 401 B/)]);
    progress.stop();
  });

  test("several files have a bar each while they come, and one of all", () => {
    const stream = new FakeStream(true);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(1, 4, { part: "a.bin" });
    progress.update(1, 12);
    progress.update(2, 8, { part: "模型.bin" });
    progress.update(3, 12);
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toEqual([
      expect.stringMatching(/^a\.bin {5}█+░+ +25%/),
      expect.stringMatching(/^模型\.bin {2}█+░+ +25%/),
      expect.stringMatching(/^total {5}█+░+ +25%/),
    ]);
    progress.update(4, 4, { part: "a.bin" });
    progress.update(6, 12);
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toEqual([expect.stringMatching(/^模型\.bin /), expect.stringMatching(/^total .*50%/)]);
    progress.stop();
  });

  test("the rate is that of the last seconds, and falls when nothing comes", () => {
    const stream = new FakeStream(true, 120);
    const progress = createProgress("downloading", "bytes", stream);
    let done = 0;
    const run = (seconds: number, perSecond: number) => {
      for (let tick = 0; tick < seconds * 4; tick++) {
        vi.advanceTimersByTime(250);
        done += perSecond / 4;
        progress.update(done, 1e9, { start: 0 });
      }
      vi.advanceTimersByTime(100);
      return rowsOf(stream).join();
    };
    progress.update(0, 1e9);
    expect(run(60, 1e6)).toMatch(/ (1\.0\d MB|9\d\d kB)\/s/);
    expect(run(10, 20e6)).toMatch(/ (2\d\.\d|19\.\d) MB\/s/);
    vi.advanceTimersByTime(60_000);
    expect(rowsOf(stream).join()).toMatch(/ 0 B\/s/);
    progress.stop();
  });

  test("what was there before does not count for the rate", () => {
    const stream = new FakeStream(true, 120);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(900e6, 1e9, { start: 900e6 });
    vi.advanceTimersByTime(1000);
    progress.update(901e6, 1e9, { start: 900e6 });
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream).join()).toMatch(/ 90%.* 500 kB\/s/);
    progress.stop();
  });

  test.each([30, 60, 80, 120])("at %d columns no row is wrapped", (columns) => {
    const stream = new FakeStream(true, columns);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(1e6, 4e9, { part: "model-00001-of-00002.safetensors" });
    progress.update(1e6, 8e9);
    progress.retry({
      subject: "owner/name/model-00002-of-00002.safetensors",
      reason: "the server failed (503)",
      pause: 5000,
    });
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toHaveLength(3);
    expect(rowsOf(stream)[2]).toMatch(/trying again in 4 s$/);
    progress.stop();
  });

  test("a note that comes meanwhile stands above the bar, whole", () => {
    const stream = new FakeStream(true, 40);
    const progress = createProgress("answering", "steps", stream);
    progress.update(1, 4);
    vi.advanceTimersByTime(1000);
    progress.note("a model that comes with the program is used");
    vi.advanceTimersByTime(1000);
    const [first, second, bar, ...more] = rowsOf(stream);
    expect([first, second]).toEqual(["note: a model that comes with the", "      program is used"]);
    expect(bar).toMatch(/^answering .* 25%/);
    expect(more).toEqual([]);
    progress.stop();
  });

  test("a terminal that becomes narrower keeps no rest of the bars, nor loses a line above them", () => {
    const stream = new FakeStream(true, 120);
    const progress = createProgress("downloading", "bytes", stream);
    progress.line("above");
    progress.update(1e6, 4e9, { part: "model-00001-of-00002.safetensors" });
    progress.update(1e6, 8e9);
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toHaveLength(3);
    resizeTerminal(stream, 50);
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toEqual(["above", expect.stringMatching(/^model-00001/), expect.stringMatching(/^total/)]);
    resizeTerminal(stream, 90);
    vi.advanceTimersByTime(1000);
    expect(rowsOf(stream)).toEqual(["above", expect.stringMatching(/^model-00001/), expect.stringMatching(/^total/)]);
    progress.stop();
    expect(rowsOf(stream)).toEqual(["above"]);
  });

  test("a retry is one line that counts down, is replaced by the next one, and goes when the file goes on", () => {
    const stream = new FakeStream(true);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(1, 4, { part: "a.bin" });
    progress.update(1, 4);
    progress.retry({ subject: "me/model/a.bin", reason: "cut off (the connection was closed)", pause: 3000 });
    const seen: (string | undefined)[] = [];
    for (let second = 0; second < 4; second++) {
      vi.advanceTimersByTime(1000);
      seen.push(/trying again.*/.exec(rowsOf(stream).join())?.[0]);
    }
    expect(seen).toEqual(["trying again in 2 s", "trying again in 1 s", "trying again", "trying again"]);
    progress.retry({ subject: "me/model/a.bin", reason: "no answer", pause: 1000 });
    vi.advanceTimersByTime(100);
    expect(rowsOf(stream)).toEqual([
      expect.stringMatching(/^a\.bin/),
      "me/model/a.bin: no answer; trying again in 1 s",
    ]);
    progress.update(2, 4, { part: "a.bin" });
    vi.advanceTimersByTime(100);
    expect(rowsOf(stream)).toEqual([expect.stringMatching(/^a\.bin/)]);
    progress.stop();
  });

  test("a retry on a narrow terminal says the reason and the time", () => {
    const stream = new FakeStream(true, 50);
    const progress = createProgress("downloading", "bytes", stream);
    progress.retry({
      subject: "owner/name/model-00001-of-00002.safetensors",
      reason: "the server failed (503)",
      pause: 2000,
    });
    vi.advanceTimersByTime(100);
    expect(rowsOf(stream)).toEqual(["the server failed (503); trying again in 2 s"]);
    progress.stop();
  });

  test("a line of any length stands above the bars", () => {
    const stream = new FakeStream(true, 40);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(1, 4);
    vi.advanceTimersByTime(200);
    progress.line("x".repeat(60));
    vi.advanceTimersByTime(200);
    expect(rowsOf(stream)).toEqual(["x".repeat(40), "x".repeat(20), expect.stringMatching(/^downloading/)]);
    progress.stop();
  });

  test("names cannot move the cursor", () => {
    const stream = new FakeStream(true);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(1, 4, { part: "a\u001b[2J\nb.bin" });
    progress.retry({ subject: "a\u001b[2J\nb", reason: "bad\n\u001b[31mworse", pause: 1000 });
    vi.advanceTimersByTime(200);
    expect(stream.written).not.toContain("\u001b[2J");
    expect(stream.written).not.toContain("\u001b[31m");
    expect(rowsOf(stream)).toHaveLength(2);
    progress.stop();
  });

  test("the cursor comes back", () => {
    const stream = new FakeStream(true);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(1, 4);
    expect(stream.written).toContain("\u001b[?25l");
    progress.stop();
    expect(stream.written.lastIndexOf("\u001b[?25h")).toBeGreaterThan(stream.written.lastIndexOf("\u001b[?25l"));
    expect(stream.listenerCount("resize")).toBe(0);
  });
});

describe("where there is no terminal", () => {
  test("progress is a line now and then, about the whole only", () => {
    const stream = new FakeStream(false);
    const progress = createProgress("downloading", "bytes", stream);
    progress.update(100, 1000);
    expect(stream.written).toBe("");
    vi.advanceTimersByTime(5000);
    progress.update(200, 400, { part: "a.bin" });
    progress.update(300, 1000);
    progress.update(400, 1000);
    expect(stream.written).toMatch(/^downloading: 30 % of 1\.00 kB, \d+(\.\d+)? k?B\/s\n$/);
    progress.stop();
  });

  test("progress of steps names the step", () => {
    const stream = new FakeStream(false);
    const progress = createProgress("measuring", "steps", stream);
    vi.advanceTimersByTime(5000);
    progress.update(1, 4, { name: "pp512" });
    expect(stream.written).toBe("measuring: 25 %, pp512\n");
  });

  test("each retry is a line", () => {
    const stream = new FakeStream(false);
    createProgress("downloading", "bytes", stream).retry({ subject: "a", reason: "no answer", pause: 1500 });
    expect(stream.written).toBe("a: no answer; trying again in 1.5 s\n");
  });

  test("a terminal that cannot move its cursor is none", () => {
    vi.stubEnv("TERM", "dumb");
    const stream = new FakeStream(true);
    createProgress("downloading", "bytes", stream).update(1, 4);
    expect(stream.written).toBe("");
    vi.unstubAllEnvs();
  });
});
