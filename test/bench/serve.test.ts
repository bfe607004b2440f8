// bitnet bench serve: what it sends, counts and reports. Time is a clock of the test's own, or nothing looks at it.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chalk } from "chalk";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { Distribution } from "../../src/bench/distribution.js";
import { Random } from "../../src/bench/random.js";
import { runServeBench, type ServePlan, type ServeReport } from "../../src/bench/serve.js";
import { EventReader, readAnswerEvent } from "../../src/bench/serve-events.js";
import { drawServePlot } from "../../src/bench/serve-plot.js";
import { formatServeReport } from "../../src/bench/serve-report.js";
import type { ServeResult } from "../../src/bench/serve-result.js";
import { arrivalTimes } from "../../src/bench/serve-round.js";
import { formatServeTable } from "../../src/cli/serve-table.js";
import { displayWidth } from "../../src/cli/terminal/width.js";
import { beginStream, endStream, FakeClock, FakeOpenAi, textEvent, writeEvent } from "../support/fake-openai.js";
import { root, runBitnet } from "../support/fixtures.js";
import { parseXml } from "../support/xml.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-bench-serve-"));
afterAll(() => rmSync(folder, { recursive: true }));

let fake: FakeOpenAi;
beforeEach(async () => {
  fake = await FakeOpenAi.start();
});
afterEach(() => fake.stop());

function planFor(changes: Partial<ServePlan> = {}): ServePlan {
  return {
    servers: [{ url: fake.url }],
    endpoint: "chat",
    prompts: [8],
    answer: 3,
    loads: [{ kind: "closed", streams: 1 }],
    runs: 1,
    durationMs: 0,
    timeoutMs: 600_000,
    warmup: false,
    samePrompt: false,
    ignoreEos: true,
    goodput: { firstMs: 2000, betweenMs: 250 },
    seed: 1,
    signal: new AbortController().signal,
    ...changes,
  };
}

async function measureOne(changes: Partial<ServePlan> = {}): Promise<ServeResult> {
  const { results } = await runServeBench(planFor(changes));
  expect(results).toHaveLength(1);
  return results[0] as ServeResult;
}

/** Three tokens: the first after `first`, the others after `between` milliseconds of a clock that it moves. */
function answerBy(clock: FakeClock, first: number, between: number) {
  return async (_: unknown, response: ServerResponse) => {
    beginStream(response);
    for (const wait of [first, between, between]) {
      clock.advance(wait);
      const seen = clock.nextRead();
      writeEvent(response, textEvent("x"));
      await seen;
    }
    endStream(response, 3);
  };
}

function contentsOf(server: FakeOpenAi): string[] {
  return server.asked.map(({ body }) => body.messages?.[0]?.content ?? body.prompt ?? "");
}

describe("times and speeds", () => {
  test("are those of the events: until the first one, between them, and tokens per second of the window", async () => {
    const clock = new FakeClock();
    fake.answer = answerBy(clock, 100, 20);
    const result = await measureOne({ clock, durationMs: 1000 });
    // Answers of 140 ms: the window of a second ends with the eighth, 1.12 s after its beginning.
    expect(result.requests).toBe(8);
    expect(result.timeToFirstToken).toEqual({ count: 8, mean: 100, p50: 100, p95: 100, p99: 100, max: 100 });
    expect(result.interTokenLatency).toEqual({ count: 16, mean: 20, p50: 20, p95: 20, p99: 20, max: 20 });
    expect(result.requestTime).toMatchObject({ p50: 140, max: 140 });
    expect(result.windows).toEqual([1.12]);
    expect(result.tokensPerSecond.median).toBeCloseTo(24 / 1.12, 9);
    expect(result.answersPerSecond.median).toBeCloseTo(8 / 1.12, 9);
    expect(result.streamTokensPerSecond).toBeCloseTo(1000 / 20, 9);
  });

  test("an answer is good if its first token and its tokens on average come within the limits", async () => {
    const clock = new FakeClock();
    const waits: [number, number][] = [
      [100, 20],
      [101, 20],
      [100, 21],
    ];
    fake.answer = (asked, response) => answerBy(clock, ...(waits.shift() ?? [0, 0]))(asked, response);
    const goodput = { firstMs: 100, betweenMs: 20 };
    const result = await measureOne({ clock, durationMs: 400, goodput });
    expect(result.requests).toBe(3);
    expect(result.goodput.share).toBeCloseTo(1 / 3, 9);
    expect(result.goodput.perSecond).toBeCloseTo(1 / 0.423, 9);
  });

  test("tokens are as many as the server counts, not as the events that they come in", async () => {
    const clock = new FakeClock();
    fake.answer = async (_, response) => {
      beginStream(response);
      clock.advance(1000);
      writeEvent(response, textEvent("four tokens at once"));
      endStream(response, 4, 17);
    };
    const result = await measureOne({ clock, durationMs: 1 });
    expect(result.tokensPerSecond.median).toBe(4);
    expect(result).toMatchObject({ answerTokens: 4, promptTokens: 17 });
  });

  test("of tokens that come after the window count neither as speed nor as time between tokens", async () => {
    const clock = new FakeClock();
    let close = () => {};
    const isClosed = new Promise<void>((resolve) => {
      close = resolve;
    });
    let begin = () => {};
    const hasBegun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const answers: ((response: ServerResponse) => Promise<void>)[] = [
      async (response) => endStream(response, 1),
      async (response) => endStream(response, 1),
      async (response) => {
        const seen = clock.nextRead();
        writeEvent(response, textEvent("x"));
        await seen;
        begin();
        await isClosed;
        writeEvent(response, textEvent("x"));
        endStream(response, 2);
      },
      async (response) => {
        await hasBegun;
        clock.advance(1000); // the end of the window
        const seen = clock.nextRead();
        endStream(response, 1);
        await seen;
        close();
      },
    ];
    fake.answer = async (_, response) => {
      const answer = answers[fake.asked.length - 1];
      beginStream(response);
      if (fake.asked.length !== 3) {
        writeEvent(response, textEvent("x"));
      }
      await answer?.(response);
    };
    const result = await measureOne({ clock, loads: [{ kind: "closed", streams: 2 }], durationMs: 1000 });
    expect(result).toMatchObject({ requests: 4, windows: [1], interTokenLatency: null });
    expect(result.tokensPerSecond.median).toBe(4); // of five
  });

  test("each run is a sample of the speed", async () => {
    const clock = new FakeClock();
    fake.answer = answerBy(clock, 100, 20);
    const { tokensPerSecond } = await measureOne({ clock, runs: 3, durationMs: 100 });
    expect(tokensPerSecond.samples).toHaveLength(3);
  });
});

test("memory is that before and after a test and the most between, as the server's metrics tell", async () => {
  const { answer } = fake;
  const bytes = [300, 200];
  fake.metrics = "process_resident_memory_bytes 100\n";
  fake.answer = (asked, response) => {
    fake.metrics = `# HELP x\nprocess_resident_memory_bytes{a="b"} ${bytes.shift()}\n`;
    return answer(asked, response);
  };
  expect((await measureOne({ runs: 2 })).memory).toEqual({ before: 100, after: 200, most: 300 });
  fake.metrics = "nothing of the kind\n";
  fake.answer = answer;
  expect((await measureOne()).memory).toBeNull();
});

describe("load", () => {
  test("a closed loop has exactly so many requests at once", async () => {
    let haveAllAsked = () => {};
    const all = new Promise<void>((resolve) => {
      haveAllAsked = resolve;
    });
    fake.answer = async (_, response) => {
      if (fake.asked.length === 5) {
        haveAllAsked();
      }
      await all;
      beginStream(response);
      writeEvent(response, textEvent("x"));
      endStream(response, 1);
    };
    const { outcomes, requests } = await measureOne({ loads: [{ kind: "closed", streams: 5 }] });
    expect(fake.mostInFlight).toBe(5);
    expect(outcomes).toEqual({ ok: requests });
    expect(requests).toBeGreaterThanOrEqual(5);
  });

  test("an open loop sends whatever the answers do", async () => {
    const clock = new FakeClock();
    const expected = [...arrivalTimes(50, 1000, new Random(8191))].length;
    const held: ServerResponse[] = [];
    fake.answer = (_, response) => {
      held.push(response);
      if (held.length === expected) {
        for (const one of held) {
          beginStream(one);
          endStream(one, 0);
        }
      }
    };
    const measured = measureOne({ clock, loads: [{ kind: "open", rate: 50 }], durationMs: 1000 });
    let isDone = false;
    void measured.finally(() => {
      isDone = true;
    });
    while (!isDone) {
      clock.advance(1);
      await new Promise(setImmediate);
    }
    expect((await measured).outcomes).toEqual({ ok: expected });
    expect(fake.mostInFlight).toBe(expected);
    expect(expected).toBeGreaterThan(30);
  });

  test("arrivals are the same for the same seed, within the round, and as many as the rate says", () => {
    const times = [...arrivalTimes(100, 100_000, new Random(3))];
    expect(times).toEqual([...arrivalTimes(100, 100_000, new Random(3))]);
    expect(times).not.toEqual([...arrivalTimes(100, 100_000, new Random(4))]);
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.at(-1)).toBeLessThan(100_000);
    expect(times.length / 10_000).toBeCloseTo(1, 1); // the deviation of 10,000 arrivals is 1 %
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length);
    expect(deviation / mean).toBeCloseTo(1, 1); // exponential, not even
  });

  test("servers take turns, and are asked the same", async () => {
    const other = await FakeOpenAi.start();
    try {
      const turns: string[] = [];
      for (const [name, server] of [
        ["a", fake],
        ["b", other],
      ] as const) {
        const { answer } = server;
        server.answer = (asked, response) => {
          turns.push(name);
          return answer(asked, response);
        };
      }
      const { results } = await runServeBench(planFor({ servers: [fake, other].map(({ url }) => ({ url })), runs: 2 }));
      expect(turns).toEqual(["a", "b", "a", "b"]);
      expect(results.map(({ server, requests }) => [server, requests])).toEqual([
        [fake.url, 2],
        [other.url, 2],
      ]);
      expect(contentsOf(fake)).toEqual(contentsOf(other));
    } finally {
      await other.stop();
    }
  });

  test("overload is so many times the rate of answers that the most streams got", async () => {
    const clock = new FakeClock();
    let asked = 0;
    fake.answer = (_, response) => {
      asked++;
      if (asked <= 4) {
        clock.advance(500); // 2 answers a second
        beginStream(response);
        endStream(response, 0);
      } else {
        response.writeHead(429, { "content-type": "application/json" });
        response.end('{"error":{"message":"the queue is full"}}');
      }
    };
    const loads: ServePlan["loads"] = [{ kind: "closed", streams: 1 }];
    const measured = runServeBench(planFor({ clock, loads, durationMs: 2000, overload: 10 }));
    let isDone = false;
    void measured.finally(() => {
      isDone = true;
    });
    while (!isDone) {
      await new Promise(setImmediate);
      if (asked >= 4) {
        clock.advance(1);
      }
    }
    const [, overload] = (await measured).results;
    expect(overload).toMatchObject({ isOverload: true, load: { kind: "open" } });
    expect(overload?.load).toMatchObject({ rate: expect.closeTo(20, 1) });
    expect(overload?.outcomes).toEqual({ 429: overload?.requests });
    expect(overload?.reasons).toEqual({ 429: "the queue is full" });
    expect(overload?.refusalTime?.count).toBe(overload?.requests);
  });
});

describe("requests", () => {
  test("have the length that was asked for, by the server's own count, in both shapes of /tokenize", async () => {
    for (const key of ["content", "prompt"] as const) {
      fake.tokenizeKey = key;
      fake.tokensPerWord = 2;
      fake.asked.length = 0;
      await measureOne({ prompts: [128] });
      expect(contentsOf(fake)[0]?.split(" ")).toHaveLength(64);
    }
  });

  test("are estimated and said to be where the server has no /tokenize", async () => {
    fake.tokenizeKey = undefined;
    const report = await runServeBench(planFor({ prompts: [128] }));
    expect(report.servers[0]?.tokensPerWord).toBeNull();
    expect(contentsOf(fake)[0]?.split(" ")).toHaveLength(128);
    expect(formatServeReport(withMachine(report), "md")).toContain("estimates");
  });

  test("begin differently each time, or are all the same where that is asked for", async () => {
    await measureOne({ runs: 4 });
    expect(new Set(contentsOf(fake).map((text) => text.slice(0, 20))).size).toBe(4);
    fake.asked.length = 0;
    await measureOne({ runs: 4, samePrompt: true });
    expect(new Set(contentsOf(fake)).size).toBe(1);
  });

  test("go to either endpoint with the key and the model, and a warm-up comes first and is not counted", async () => {
    const { requests } = await measureOne({ endpoint: "completions", apiKey: "secret", warmup: true, answer: 5 });
    expect(requests).toBe(1);
    expect(fake.asked.map(({ path }) => path)).toEqual(["/v1/completions", "/v1/completions"]);
    expect(fake.asked[0]?.headers.authorization).toBe("Bearer secret");
    expect(fake.asked[0]?.body).toMatchObject({ model: "fake-model", max_tokens: 5, ignore_eos: true });
    await measureOne({ model: "mine", ignoreEos: false });
    expect(fake.asked.at(-1)?.body).toMatchObject({ model: "mine" });
    expect(fake.asked.at(-1)?.body).not.toHaveProperty("ignore_eos");
  });

  test("share kept connections", async () => {
    const connections = new Set<unknown>();
    const { answer } = fake;
    fake.answer = (asked, response) => {
      connections.add(response.socket);
      return answer(asked, response);
    };
    await measureOne({ runs: 6 });
    expect(connections.size).toBe(1);
  });
});

describe("what goes wrong", () => {
  test.each<[string, (response: ServerResponse) => void, string]>([
    ["a stream that breaks off", (response) => cutOff(response, 1), "connection"],
    ["a stream that ends before the answer", (response) => endEarly(response), "broken"],
    ["an error within the stream", (response) => sendError(response), "broken"],
    ["an event that is no JSON", (response) => sendGarbage(response), "broken"],
    ["a refusal", (response) => void response.writeHead(503).end('{"error":{"message":"full"}}'), "503"],
  ])("%s is counted as what it is, and the others go on", async (_, fail, outcome) => {
    const { answer } = fake;
    fake.answer = (asked, response) => (fake.asked.length === 1 ? fail(response) : answer(asked, response));
    const { outcomes } = await measureOne({ runs: 3 });
    expect(outcomes).toEqual({ [outcome]: 1, ok: 2 });
  });

  function cutOff(response: ServerResponse, events: number): void {
    beginStream(response);
    for (let i = 0; i < events; i++) {
      writeEvent(response, textEvent("x"));
    }
    response.write("", () => response.destroy());
  }

  function endEarly(response: ServerResponse): void {
    beginStream(response);
    writeEvent(response, textEvent("x"));
    response.end();
  }

  function sendError(response: ServerResponse): void {
    beginStream(response);
    writeEvent(response, { error: { message: "out of memory", type: "server_error" } });
    writeEvent(response, "[DONE]");
    response.end();
  }

  function sendGarbage(response: ServerResponse): void {
    beginStream(response);
    writeEvent(response, "{not json");
    response.end();
  }

  test("an answer that never ends is hung after the timeout, and its connection is closed", async () => {
    const clock = new FakeClock();
    let closed = () => {};
    const isClosed = new Promise<void>((resolve) => {
      closed = resolve;
    });
    fake.answer = (_, response) => {
      response.on("close", closed);
      clock.advance(30_000);
    };
    const result = await measureOne({ clock, timeoutMs: 30_000, durationMs: 1 });
    expect(result.outcomes).toEqual({ hung: 1 });
    expect(result.reasons).toEqual({ hung: "no end after 30 s" });
    await isClosed;
  });

  test("a server that is not there, wants a key or lists nothing is an error before anything is measured", async () => {
    const gone = await FakeOpenAi.start();
    const { url } = gone;
    await gone.stop();
    await expect(runServeBench(planFor({ servers: [{ url }] }))).rejects.toMatchObject({ code: "NETWORK" });
    fake.answer = (_, response) => void response.writeHead(401).end('{"error":{"message":"no key"}}');
    await expect(runServeBench(planFor({ warmup: true }))).rejects.toThrow(/status 401: no key/);
    await expect(runServeBench(planFor({ servers: [{ url: "ftp://x" }] }))).rejects.toMatchObject({ code: "USAGE" });
  });

  test("when it is stopped, the report is what was measured until then", async () => {
    const stop = new AbortController();
    const { answer } = fake;
    fake.answer = (asked, response) => (fake.asked.length === 3 ? stop.abort() : answer(asked, response));
    const report = await runServeBench(planFor({ runs: 5, signal: stop.signal }));
    expect(report.isPartial).toBe(true);
    expect(report.results[0]).toMatchObject({ requests: 2, outcomes: { ok: 2 } });
  });
});

describe("events", () => {
  const text =
    ': ping\r\n\r\nevent: x\ndata: {"a":1}\n\ndata:two\r\ndata: lines ä€😀\r\n\r\nid: 3\rdata: mac\r\rdata: unfinished';
  const expected = ['{"a":1}', "two\nlines ä€😀", "mac"];

  test("are read alike wherever the pieces end", () => {
    const bytes = Buffer.from(text);
    for (let size = 1; size <= bytes.length; size++) {
      const reader = new EventReader();
      const events: string[] = [];
      for (let start = 0; start < bytes.length; start += size) {
        events.push(...reader.push(bytes.subarray(start, start + size)));
      }
      expect(events).toEqual(expected);
    }
  });

  test("of any length are not kept", () => {
    const piece = Buffer.from("x".repeat(100_000));
    const line = new EventReader();
    expect(() => Array.from({ length: 20 }, () => line.push(piece))).toThrow(/more than/);
    const lines = new EventReader();
    const whole = Buffer.concat([Buffer.from("data: "), piece, Buffer.from("\n")]);
    expect(() => Array.from({ length: 20 }, () => lines.push(whole))).toThrow(/more than/);
  });

  test.each([
    ['{"choices":[{"delta":{"role":"assistant","content":null}}]}', { hasText: false, isFinished: false }],
    ['{"choices":[{"delta":{"content":"a"}}]}', { hasText: true }],
    ['{"choices":[{"delta":{"reasoning_content":"a"}}]}', { hasText: true }],
    ['{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}', { hasText: true }],
    ['{"choices":[{"text":"a","finish_reason":"stop"}]}', { hasText: true, isFinished: true }],
    ['{"choices":[],"usage":{"completion_tokens":3}}', { hasText: false, usage: { completionTokens: 3 } }],
    ['{"choices":null,"usage":{"completion_tokens":-1}}', { usage: { completionTokens: undefined } }],
    ["[1,2]", { hasText: false }],
  ])("%s is understood", (data, expected) => {
    expect(readAnswerEvent(data)).toMatchObject(expected);
  });
});

describe("many values", () => {
  test("have the quantiles of their ranks", () => {
    const values = new Distribution();
    expect(values.quantiles()).toBeUndefined();
    for (let i = 100; i >= 1; i--) {
      values.add(i);
    }
    expect(values.quantiles()).toEqual({ count: 100, mean: 50.5, p50: 50, p95: 95, p99: 99, max: 100 });
  });

  test("that are too many to keep are sampled evenly", () => {
    const values = new Distribution(1000);
    for (let i = 0; i < 100_000; i++) {
      values.add(i);
    }
    const { count, p50, max } = values.quantiles() ?? {};
    expect({ count, max }).toEqual({ count: 100_000, max: 99_999 });
    expect(p50).toBeGreaterThan(42_000); // five deviations of the median of 1000
    expect(p50).toBeLessThan(58_000);
  });
});

const machine = { version: "1.2.3", cpu: "a CPU", cores: 2, os: "an OS" };

function withMachine(report: ServeReport) {
  return { ...report, machine } as Parameters<typeof formatServeReport>[0];
}

describe("the report", () => {
  async function makeReport() {
    const clock = new FakeClock();
    fake.answer = answerBy(clock, 1234, 20);
    const loads: ServePlan["loads"] = [1, 2].map((streams) => ({ kind: "closed", streams }));
    const first = await runServeBench(planFor({ clock, prompts: [128, 1024], loads: loads.slice(0, 1) }));
    const [result] = first.results;
    const others = [2, 16].map((streams) => ({ ...result, load: { kind: "closed", streams } }) as ServeResult);
    const overload = { ...result, isOverload: true, load: { kind: "open", rate: 123.456 } } as ServeResult;
    return withMachine({ ...first, results: [...first.results, ...others, overload] });
  }

  test.each([60, 80, 120])("fits %d columns as a table", async (columns) => {
    const report = await makeReport();
    const lines = formatServeTable(report, columns, new Chalk({ level: 0 })).split("\n");
    const tooLong = lines.filter((line) => displayWidth(line) > columns);
    expect(tooLong).toEqual([]);
    const table = lines.join("\n");
    expect(table).toContain("fake-model, prompts of");
    expect(table).toMatch(/streams +tok\/s +good +TTFT p50/);
    expect(table).toMatch(/^ +16 .* 1\.23 s .* 20 ms/m);
    expect(table.includes("100 MiB")).toBe(columns === 120);
  });

  test("is JSON, lines of JSON, CSV, SQL and Markdown with the same numbers", async () => {
    const report = await makeReport();
    const json = JSON.parse(formatServeReport(report, "json"));
    expect(json.results[0]).toMatchObject({ timeToFirstToken: { p50: 1234 }, memory: { most: 104857600 } });
    expect(formatServeReport(report, "jsonl").trim().split("\n")).toHaveLength(report.results.length);
    const [header = "", row = ""] = formatServeReport(report, "csv").split("\n");
    const cell = (name: string) => row.split(",")[header.split(",").indexOf(name)];
    expect([cell("ttft_ms_p99"), cell("itl_ms_p50"), cell("streams"), cell("rss_bytes")]).toEqual([
      "1234",
      "20",
      "1",
      "104857600",
    ]);
    expect(formatServeReport(report, "sql")).toContain("CREATE TABLE IF NOT EXISTS bitnet_serving");
    expect(formatServeReport(report, "md")).toMatch(/\| 1 stream +\|/);
  });

  test("is drawn as a picture of latency and speed over the load", async () => {
    const report = await makeReport();
    const picture = drawServePlot(report, "a machine");
    expect(() => parseXml(picture)).not.toThrow();
    for (const text of ["Time to the first token", "Time between tokens", "Speed of all streams", "prompt 1024"]) {
      expect(picture).toContain(text);
    }
    expect(() => drawServePlot({ ...report, results: [] }, "")).toThrow(/nothing to draw/);
  });
});

describe("bitnet bench serve", () => {
  const quick = ["--streams", "2", "-p", "8", "-n", "4", "--runs", "1", "--duration", "0.001"];

  test("measures a server and prints JSON, a file and a plot", async () => {
    const [csv, plot] = [join(folder, "x.csv"), join(folder, "x.svg")];
    const args = ["bench", "serve", `${fake.url}/v1/`, ...quick, "--json", "-o", csv, "--plot", plot];
    const { status, stdout, stderr } = await runBitnet(args);
    expect({ status, stderr }).toMatchObject({ status: 0, stderr: expect.not.stringContaining("error:") });
    const { results, servers } = JSON.parse(stdout);
    expect(servers).toEqual([{ url: fake.url, model: "fake-model", tokensPerWord: 1 }]);
    expect(results[0]).toMatchObject({ load: { kind: "closed", streams: 2 }, prompt: 8, answerTokens: 4 });
    expect(readFileSync(csv, "utf8")).toContain(fake.url);
    expect(readFileSync(plot, "utf8")).toContain("<svg");
  });

  test("starts a server of its own with the options after --, and ends it", async () => {
    const { status, stdout, stderr } = await runBitnet([
      "bench",
      "serve",
      ...quick,
      "--json",
      "--",
      "-np",
      "2",
      "-a",
      "mine",
    ]);
    expect({ status, stderr }).toMatchObject({ status: 0, stderr: expect.stringContaining("starting bitnet serve") });
    const { results, servers } = JSON.parse(stdout);
    expect(servers[0].model).toBe("mine");
    expect(results[0].outcomes).toEqual({ ok: results[0].requests });
    expect(results[0].answerTokens).toBe(4);
    expect(results[0].memory.most).toBeGreaterThan(10_000_000);
    await expect(fetch(servers[0].url)).rejects.toThrow();
  });

  test("tells what its server said if that does not start", async () => {
    const { status, stderr } = await runBitnet(["bench", "serve", ...quick, "--", "--nonsense"]);
    expect({ status, stderr }).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("unknown option '--nonsense'"),
    });
  });

  test.each([
    [["http://127.0.0.1:1", "--", "-np", "4"], /-np is for a server that is started here/],
    [["nonsense"], /expected the address of a server/],
    [["--streams", "0"], /expected an integer/],
    [["--rate", "fast"], /expected a number/],
  ])("%j is refused with the reason", async (args, message) => {
    const { status, stderr } = await runBitnet(["bench", "serve", ...args]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(message);
  });

  test("prints what there is when it is interrupted", async () => {
    let second = () => {};
    const isSecond = new Promise<void>((resolve) => {
      second = resolve;
    });
    const { answer } = fake;
    fake.answer = (asked, response) => (fake.asked.length === 3 ? second() : answer(asked, response));
    const args = ["bench", "serve", fake.url, "--streams", "1,2", "-p", "8", "-n", "4", "--duration", "0.001"];
    const command = [join(root, "bin", "bitnet.js"), ...args, "--json"];
    const child = spawn(process.execPath, command, { stdio: ["ignore", "pipe", "ignore"] });
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    await isSecond; // the warm-up and the first round are over
    child.kill("SIGINT");
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect(status).toBe(130);
    const report = JSON.parse(stdout);
    expect(report.isPartial).toBe(true);
    expect(report.results[0].outcomes).toEqual({ ok: 1 });
  });
});
