// What the terminal shows: texts from outside, columns, speeds, progress.

import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { formatBytes, formatColumns, formatSpeed, oneLine, withoutControls } from "../../src/cli/terminal/format.js";
import { log, logLine, note, reportError } from "../../src/cli/terminal/output.js";
import { describeTimings } from "../../src/cli/terminal/timings.js";
import { BitnetError } from "../../src/system/errors.js";
import { FakeStream } from "../support/terminal.js";

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;

describe("texts from outside", () => {
  test("lose their control characters, and nothing else", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const clean = withoutControls(text);
        expect(clean).not.toMatch(controls);
        expect(clean).toBe([...text].filter((character) => !controls.test(character)).join(""));
      }),
    );
    expect(withoutControls("a\u001b[2Jb\tc\r\nd\u009b1m")).toBe("a[2Jb\tc\nd1m");
  });

  test("are one line in messages", () => {
    expect(oneLine("a\n  b\tc\u0007")).toBe("a b c");
  });

  test("cannot add lines to an error or colour a note", () => {
    const stderr = new FakeStream(false);
    reportError(
      new BitnetError("BAD_FILE", "bad \u001b[31mname\nerror: forged", { hint: "see \u001b]0;x\u0007\nerror: y" }),
      false,
      stderr,
    );
    log("a\u001b[2J", stderr);
    note("of a\nerror: name", stderr);
    logLine("a file\nerror: name", stderr);
    expect(stderr.read()?.toString() ?? stderr.written).toBe(
      "error: bad [31mname error: forged\nhint: see ]0;x error: y\na[2J\nnote: of a error: name\na file error: name\n",
    );
  });
});

describe("an error on a terminal", () => {
  const error = new BitnetError("NOT_FOUND", "/a/path/of/a/model.gguf: no such file or directory", {
    hint: "name a file that is there, or a model of the list that the program prints",
  });

  test.each([
    [
      60,
      [
        "error: /a/path/of/a/model.gguf: no such file or directory",
        "hint: name a file that is there, or a model of the list that",
        "      the program prints",
      ],
    ],
    [
      30,
      [
        "error: /a/path/of/a/model.gguf:",
        "       no such file or",
        "       directory",
        "hint: name a file that is",
        "      there, or a model of the",
        "      list that the program",
        "      prints",
      ],
    ],
  ])("of %d columns is wrapped between words, under its first one", (columns, lines) => {
    vi.stubEnv("NO_COLOR", "1");
    const stderr = new FakeStream(true, columns);
    reportError(error, false, stderr);
    expect(stderr.written).toBe(`${lines.join("\n")}\n`);
    vi.unstubAllEnvs();
  });

  test("is coloured, and nowhere else", () => {
    vi.stubEnv("NO_COLOR", "");
    vi.stubEnv("FORCE_COLOR", "");
    const streams = [new FakeStream(true, 200), new FakeStream(false)];
    for (const stream of streams) {
      reportError(error, false, stream);
    }
    expect(streams.map(({ written }) => written.includes("\u001b[31m"))).toEqual([true, false]);
    expect(streams[1]?.written).toMatch(/^error: .*\nhint: .*\n$/);
    vi.unstubAllEnvs();
  });
});

describe("columns", () => {
  test("are as wide as their widest cell; those of numbers end at the same place", () => {
    expect(
      formatColumns(
        [
          ["a", "1 kB", "x"],
          ["long name", "100 MB", ""],
        ],
        { numeric: [1], indent: "  " },
      ),
    ).toEqual(["  a            1 kB  x", "  long name  100 MB"]);
    expect(formatColumns([])).toEqual([]);
  });

  test("stay in line whatever a cell holds", () => {
    expect(
      formatColumns([
        ["a\nb\u001b[1m", "c"],
        ["d", "e"],
      ]),
    ).toEqual(["a b[1m  c", "d       e"]);
  });
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.00 kB"],
  [999_500, "1.00 MB"],
  [1_234_567_890, "1.23 GB"],
])("%d bytes are %s", (bytes, expected) => {
  expect(formatBytes(bytes)).toBe(expected);
});

describe("speeds", () => {
  test("are tokens over seconds, and none where no time passed", () => {
    expect(formatSpeed(10, 500)).toBe("10 tokens in 500 ms (20.0 tokens/s)");
    expect(formatSpeed(10, 0)).toBe("10 tokens in 0 ms");
    expect(formatSpeed(1, 0.04)).toBe("1 token in 0.1 ms (25000 tokens/s)");
    expect(formatSpeed(9, 6.25)).toBe("9 tokens in 6.3 ms (1440 tokens/s)");
  });

  test("count what was evaluated: not what was in the cache, nor the last token of a text", () => {
    const timings = {
      promptTokens: 30,
      reusedTokens: 10,
      queueMs: 0,
      promptMs: 100,
      generatedTokens: 11,
      decodedTokens: 10,
      generateMs: 500,
    };
    expect(describeTimings(timings)).toEqual([
      "prefill: 20 tokens in 100 ms (200.0 tokens/s), 10 reused",
      "decode:  10 tokens in 500 ms (20.0 tokens/s)",
    ]);
    expect(describeTimings({ ...timings, reusedTokens: 0, decodedTokens: 0 })).toEqual([
      "prefill: 30 tokens in 100 ms (300.0 tokens/s)",
    ]);
  });
});
