// Parts of the web page that need no browser.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Message } from "../../src/ui/chats/chat.js";
import { parameters, readParameter, readSettings, schemaProblem } from "../../src/ui/chats/settings.js";
import { exportChats, importChats } from "../../src/ui/chats/transfer.js";
import { childrenOf, newestLeaf, pathTo, subtreeOf } from "../../src/ui/chats/tree.js";
import { readAlerts } from "../../src/ui/server/alerts.js";
import { readEvents } from "../../src/ui/server/event-stream.js";
import { formatFigure, meanOf, metricOf, parseMetrics, rateOf } from "../../src/ui/server/metrics.js";
import { blocksOf, htmlOf } from "../../src/ui/text/blocks.js";
import { GrowingText } from "../../src/ui/text/growing.js";
import { SentenceReader } from "../../src/ui/text/sentences.js";

function message(id: string, parent: string | null, created = 0): Message {
  return { id, parent, created, chat: "c", role: "user", text: id, thinking: "", state: "done" };
}

const treeOf = (...messages: Message[]) => new Map(messages.map((one) => [one.id, one]));
const idsOf = (messages: Message[]) => messages.map(({ id }) => id);

describe("the tree of a chat", () => {
  const tree = treeOf(
    message("a", null),
    message("b", "a", 1),
    message("c", "a", 2),
    message("d", "c"),
    message("e", "b"),
  );

  test("has a path to every message", () => {
    expect(idsOf(pathTo(tree, "d"))).toEqual(["a", "c", "d"]);
    expect(pathTo(tree, null)).toEqual([]);
  });

  test("has siblings in the order of their making, of which the newest branch is gone down", () => {
    expect(idsOf(childrenOf(tree).get("a") ?? [])).toEqual(["b", "c"]);
    expect(newestLeaf(tree, "a")).toBe("d");
    expect(newestLeaf(tree, "b")).toBe("e");
    expect(subtreeOf(tree, "c")).toEqual(["c", "d"]);
  });

  test("ends where it is damaged: parents that are missing, circles", () => {
    const damaged = treeOf(message("a", "b"), message("b", "a"), message("c", "missing"));
    expect(idsOf(pathTo(damaged, "a")).toSorted()).toEqual(["a", "b"]);
    expect(idsOf(pathTo(damaged, "c"))).toEqual(["c"]);
    expect(subtreeOf(damaged, "a").toSorted()).toEqual(["a", "b"]);
    expect(["a", "b"]).toContain(newestLeaf(damaged, "a"));
  });
});

describe("files of chats", () => {
  test("of any content are either refused with a sentence or read into records of the right kinds", () => {
    const json = fc.json().map((text) => `{"format":"bitnet-chats","chats":[${text},{"messages":[${text}]}]}`);
    fc.assert(
      fc.property(fc.oneof(json, fc.string()), (text) => {
        let chats: ReturnType<typeof importChats>;
        try {
          chats = importChats(text);
        } catch (error) {
          expect(String(error)).toMatch(/^Error: (The file|This is no export)/);
          return;
        }
        for (const { chat, messages } of chats) {
          expect(chat.title).toEqual(expect.any(String));
          expect(messages.every((one) => typeof one.text === "string" && one.chat === chat.id)).toBe(true);
          expect(pathTo(new Map(messages.map((one) => [one.id, one])), chat.leaf).length > 0).toBe(messages.length > 0);
        }
      }),
    );
  });

  test("are read as they were written, with new ids", () => {
    const settings = readSettings({ system: "s", values: { seed: 3 } });
    const chat = { id: "c", title: "t", created: 1, updated: 2, leaf: "b", settings };
    const [read] = importChats(exportChats([{ chat, messages: [message("b", "a", 2), message("a", null, 1)] }]));
    expect(read?.chat).toMatchObject({ title: "t", created: 1, updated: 2, settings });
    expect(read?.messages.map(({ text, parent }) => [text, parent === null])).toEqual([
      ["a", true],
      ["b", false],
    ]);
    expect(read?.chat.leaf).toBe(read?.messages[1]?.id);
    expect(read?.chat.id).not.toBe("c");
  });
});

describe("settings", () => {
  test("are numbers within what the server takes, or nothing", () => {
    const row = (name: string) => parameters.find((one) => one.name === name) ?? expect.fail(name);
    expect(readParameter(row("top_k"), " 40 ")).toBe(40);
    expect(readParameter(row("top_k"), "")).toBeUndefined();
    expect(readParameter(row("top_k"), "1.5")).toBe("a whole number from 0 to 1000000");
    expect(readParameter(row("top_p"), "1.01")).toBe("a number from 0 to 1");
    expect(readParameter(row("temperature"), "warm")).toBe("a number from 0 to 100");
  });

  test("of a schema have to be a JSON object", () => {
    expect(schemaProblem("  ")).toBeUndefined();
    expect(schemaProblem('{"type": "string"}')).toBeUndefined();
    expect(schemaProblem("null")).toBe("not a JSON object");
    expect(schemaProblem("{")).toMatch(/JSON/);
  });
});

describe("a stream of events", () => {
  /** The data of the events of a body that comes in these pieces. */
  async function eventsOf(...pieces: Uint8Array[]): Promise<string[]> {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const piece of pieces) {
          controller.enqueue(piece);
        }
        controller.close();
      },
    });
    const events: string[] = [];
    for await (const data of readEvents(body)) {
      events.push(data);
    }
    return events;
  }

  test("is read the same however it is cut, in all three kinds of lines, without comments", async () => {
    const text = 'data: {"a":"گ😀"}\n\n: ping\r\n\r\nevent: x\rdata:two\rdata: lines\r\rid: 1\n\ndata: [DONE]\n\n';
    const bytes = new TextEncoder().encode(text);
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      expect(await eventsOf(bytes.slice(0, cut), bytes.slice(cut))).toEqual(['{"a":"گ😀"}', "two\nlines", "[DONE]"]);
    }
  });

  test("that ends within an event does not give it", async () => {
    expect(await eventsOf(new TextEncoder().encode("data: one\n\ndata: tw"))).toEqual(["one"]);
  });
});

describe("sentences", () => {
  test("are given once, when they are complete, in several scripts", () => {
    const reader = new SentenceReader();
    expect(reader.take("It costs 3.50 now", false)).toEqual([]);
    expect(reader.take("It costs 3.50 now. **Is", false)).toEqual(["It costs 3.50 now."]);
    expect(reader.take("It costs 3.50 now. **Is** it? یہ ٹھیک ہے۔ پھر", false)).toEqual(["Is it?", "یہ ٹھیک ہے۔"]);
    expect(reader.take("It costs 3.50 now. **Is** it? یہ ٹھیک ہے۔ پھر", true)).toEqual(["پھر"]);
  });

  test("are paragraphs and items of lists, too", () => {
    expect(new SentenceReader().take("# Title\n\nOne\n- two\n- three\n\n好。对！", true)).toEqual([
      "Title",
      "One",
      "two",
      "three",
      "好。",
      "对！",
    ]);
  });
});

describe("a growing text", () => {
  const text =
    "# Title\n\nA paragraph\r\nof two lines.\n\n- one\n- two\n\n  more\n\n```js\nlet a = 1;\n\nlet b;\n```\n\n> quote\n\n" +
    "| a |\n|---|\n| 1 |\n\n<div>\nhtml\n</div>\n\nThe end.";

  test("keeps the blocks that are finished, and reads only what comes after them", () => {
    const growing = new GrowingText();
    let before = growing.update("");
    for (let end = 1; end <= text.length; end += 1) {
      const blocks = growing.update(text.slice(0, end));
      const finished = before.slice(0, -1);
      expect(blocks.slice(0, finished.length).every((block, i) => block === finished[i])).toBe(true);
      before = blocks;
    }
    const whole = blocksOf(text);
    expect(before.map(({ source, place }) => [source.trim(), place])).toEqual(
      whole.map(({ source, place }) => [source.trim(), place]),
    );
    expect(whole.length).toBeGreaterThan(6);
  });

  test("begins again where it is another text", () => {
    const growing = new GrowingText();
    growing.update("one\n\ntwo\n\nthree");
    expect(growing.update("other\n\ntext").map(({ source }) => source)).toEqual(["other", "text"]);
  });
});

test("Markdown becomes HTML without images, raw HTML and links to anything but pages and mail", () => {
  const html = (text: string) =>
    blocksOf(text)
      .flatMap(({ token }) => (token ? htmlOf(token) : []))
      .join("");
  expect(html('<b>a</b> ![b](c.png) [d](javascript:e) [f](/g) [h](https://i/?a="b&c)')).toBe(
    '<p>&lt;b&gt;a&lt;/b&gt; b d f <a href="https://i/?a=&quot;b&amp;c">h</a></p>\n',
  );
  expect(html("<script>\nalert(1)\n</script>")).toBe("<p>&lt;script&gt;\nalert(1)\n&lt;/script&gt;</p>\n");
  expect(html('```x" onclick="y\n</code>\n```')).toBe('<pre><code class="language-x">&lt;/code&gt;</code></pre>');
});

describe("metrics", () => {
  const reading = (time: number, text: string) => ({ time, metrics: parseMetrics(text) });

  test("are sums over labels; what is no sample is left out", () => {
    const metrics = parseMetrics(
      '# HELP a b\na{x="1"} 2\na{x="2"} 3\nnonsense\nb NaN\nc +Inf 1700000000\nd{x="}"} 1e3\n',
    );
    expect(metricOf(metrics, "a")).toBe(5);
    expect(metricOf(metrics, "a", 'x="2"')).toBe(3);
    expect(metricOf(metrics, "b")).toBeUndefined();
    expect(metricOf(metrics, "c")).toBe(Number.POSITIVE_INFINITY);
    expect(metricOf(metrics, "d")).toBe(1000);
  });

  test("have rates and means between two readings, also across a restart", () => {
    const before = reading(1000, "n 10\nt_sum 1\nt_count 2");
    expect(rateOf(before, reading(3000, "n 30"), "n")).toBe(10);
    expect(rateOf(before, reading(3000, "n 4"), "n")).toBe(0);
    expect(rateOf(undefined, before, "n")).toBeUndefined();
    expect(meanOf(before, reading(3000, "t_sum 4\nt_count 4"), "t")).toBe(1.5);
    expect(meanOf(before, before, "t")).toBeUndefined();
    expect(meanOf(undefined, reading(3000, "t_sum 4\nt_count 2"), "t")).toBe(2);
  });

  test("are written with their units", () => {
    expect(formatFigure(undefined, "rate")).toBe("–");
    expect(formatFigure(0.0421, "seconds")).toBe("42 ms");
    expect(formatFigure(0.0004, "seconds")).toBe("0.4 ms");
    expect(formatFigure(3 * 2 ** 30, "bytes")).toBe("3.00 GiB");
    expect(formatFigure(0.256, "share")).toBe("26 %");
    expect(formatFigure(12345, "count")).toBe("12,345");
  });
});

test("alerts are shown newest first, whatever the server sends", () => {
  const alerts = readAlerts({
    alerts: [
      { timestamp: 1_700_000_000, severity: "critical", message: "first" },
      { begin: "2026-01-01T00:00:00Z", end: "2026-01-01T01:00:00Z", level: "warning", name: "second" },
      null,
    ],
  });
  expect(alerts.map(({ text, level, isOver, time }) => [text, level, isOver, time?.toISOString()])).toEqual([
    ["", "warning", false, undefined],
    ["second", "warning", true, "2026-01-01T00:00:00.000Z"],
    ["first", "critical", false, "2023-11-14T22:13:20.000Z"],
  ]);
  expect(readAlerts("nonsense")).toEqual([]);
});
