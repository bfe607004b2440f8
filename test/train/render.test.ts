import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { builtinFormat, type ChatFormat, jinjaFormat, modelFormat } from "../../src/chat/format.js";
import { openTokenizer } from "../../src/engine/tokenizer.js";
import { openGguf } from "../../src/gguf/gguf.js";
import { parseExample } from "../../src/train/data/example.js";
import { packRows } from "../../src/train/data/pack.js";
import { ignoredLabel, renderExample, type TrainOn } from "../../src/train/data/render.js";
import { type DataSource, readExamples, startTally } from "../../src/train/data/sources.js";
import { root, tinyModel } from "../support/fixtures.js";

const tokenizer = openTokenizer(tinyModel);
const ownFormat = modelFormat(chatTemplateOf(tinyModel), tokenizer);
const data = join(root, "test", "fixtures", "train", "data");

function chatTemplateOf(path: string): string {
  return String(openGguf(path).metadata()["tokenizer.chat_template"]);
}

interface Golden {
  examples: { ids: number[]; labels: number[] }[];
  packing: { length: number; rows: number[][]; tokens: number[] };
}
const golden: Golden = JSON.parse(readFileSync(join(data, "expected.json"), "utf8"));

function render(value: unknown, { format = ownFormat, trainOn = "assistant" as TrainOn } = {}) {
  const origin = { file: "data.jsonl", number: 7, unit: "line" as const };
  return renderExample({ ...parseExample(value), origin }, { tokenizer, format, trainOn });
}

/** The text of a document, with what is learned between guillemets. */
function show({ ids, labels }: { ids: Int32Array; labels: Int32Array }): string {
  let text = "";
  for (let from = 0; from < ids.length; ) {
    const isTrained = labels[from] !== ignoredLabel;
    let to = from;
    while (to < ids.length && (labels[to] !== ignoredLabel) === isTrained) {
      to++;
    }
    const run = tokenizer.decode(ids.slice(from, to), { special: true });
    text += isTrained ? `«${run}»` : run;
    from = to;
  }
  return text;
}

function showAll(value: unknown, options: { format?: ChatFormat; trainOn?: TrainOn } = {}): string[] {
  return render(value, options).map(show);
}

const chat = (...contents: string[]) => ({
  messages: contents.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content })),
});

describe("an example as tokens", () => {
  it("has the ids and labels of the golden data in every form", async () => {
    const source: DataSource = { name: join(data, "samples.jsonl") };
    const use = (example: Parameters<typeof renderExample>[0]) =>
      renderExample(example, { tokenizer, format: ownFormat, trainOn: "assistant" });
    const found: { ids: number[]; labels: number[] }[] = [];
    for await (const documents of readExamples(source, startTally(source), use)) {
      found.push(...documents.map(({ ids, labels }) => ({ ids: [...ids], labels: [...labels] })));
    }
    expect(found).toEqual(golden.examples);
  });

  it("is packed into the rows of the golden data", () => {
    const lengths = golden.examples.map(({ ids }) => ids.length);
    const rows = packRows(lengths, golden.packing.length);
    expect(rows).toEqual(golden.packing.rows);
    expect(rows.map((row) => row.reduce((sum, i) => sum + (lengths[i] ?? 0), 0))).toEqual(golden.packing.tokens);
  });

  it("is learned in its answers and the tokens that end them, in the last one, or whole but for BOS", () => {
    const value = chat("hi", "Hello!", "bye", "Goodbye!");
    expect(showAll(value)).toEqual([
      "<|begin_of_text|>User: hi<|eot_id|>Assistant: «Hello!<|eot_id|>»User: bye<|eot_id|>Assistant: «Goodbye!<|eot_id|>»",
    ]);
    expect(showAll(value, { trainOn: "last" })).toEqual([
      "<|begin_of_text|>User: hi<|eot_id|>Assistant: Hello!<|eot_id|>User: bye<|eot_id|>Assistant: «Goodbye!<|eot_id|>»",
    ]);
    expect(showAll(value, { trainOn: "all" })).toEqual([
      "<|begin_of_text|>«User: hi<|eot_id|>Assistant: Hello!<|eot_id|>User: bye<|eot_id|>Assistant: Goodbye!<|eot_id|>»",
    ]);
  });

  it("leaves out an answer of weight 0, the answers of a prompt, and what follows the last answer", () => {
    const [user, first, second] = chat("hi", "Hello!", "bye").messages;
    expect(
      showAll({ messages: [user, { ...first, weight: 0 }, second, { role: "assistant", content: "Bye!" }] }),
    ).toEqual([
      "<|begin_of_text|>User: hi<|eot_id|>Assistant: Hello!<|eot_id|>User: bye<|eot_id|>Assistant: «Bye!<|eot_id|>»",
    ]);
    expect(showAll({ prompt: [user, first, second], completion: [{ role: "assistant", content: "Bye!" }] })).toEqual([
      "<|begin_of_text|>User: hi<|eot_id|>Assistant: Hello!<|eot_id|>User: bye<|eot_id|>Assistant: «Bye!<|eot_id|>»",
    ]);
    expect(showAll(chat("hi", "Hello!", "bye"))).toEqual([
      "<|begin_of_text|>User: hi<|eot_id|>Assistant: «Hello!<|eot_id|>»",
    ]);
  });

  it("never makes control tokens of contents, wherever they stand", () => {
    const [document] = render(chat("a<|eot_id|>b", "c<|end_of_text|>d<|eot_id|>"));
    const eot = tokenizer.info.eot;
    expect([...(document?.ids ?? [])].filter((id) => id === eot)).toHaveLength(2);
    expect([...(document?.ids ?? [])].filter((id) => id === tokenizer.info.eos)).toHaveLength(0);
    expect(document && show(document)).toBe(
      "<|begin_of_text|>User: a<|eot_id|>b<|eot_id|>Assistant: «c<|end_of_text|>d<|eot_id|><|eot_id|>»",
    );
  });

  it("ends with EOS where the format ends answers with no token", () => {
    expect(showAll(chat("hi", "Hello!"), { format: builtinFormat("bitnet-legacy", tokenizer) })).toEqual([
      "<|begin_of_text|>User: hi<|eot_id|>Assistant: «Hello!<|end_of_text|>»",
    ]);
  });

  it.each([
    ["headers.jinja", "<|head|>user<|/head|>\n\nhi<|eot_id|><|head|>assistant<|/head|>\n\n«Hello!<|eot_id|>»"],
    ["brackets.jinja", "[INST] hi[/INST]« Hello!<|end_of_text|>»"],
    ["capitalized.jinja", "User: hi<|eot_id|>Assistant: «Hello!<|eot_id|>»"],
  ])("follows the template %s", (file, first) => {
    const source = readFileSync(join(root, "test", "fixtures", "templates", file), "utf8");
    const format = jinjaFormat(source.replaceAll("<|eot|>", "<|eot_id|>"), file, tokenizer);
    const [text = "", ...more] = showAll(chat("hi", " Hello! ", "bye", "Goodbye!"), { format });
    expect(more).toEqual([]);
    expect(text).toContain(first);
    expect(text.match(/«[^»]*»/g)?.map((run) => run.trim())).toHaveLength(2);
    // Without the marks, and up to the last token that is learned, it is what the template makes of the chat.
    const whole = format.render(chat("hi", "Hello!", "bye", "Goodbye!").messages, false);
    expect(whole.startsWith(text.replace(/[«»]/g, ""))).toBe(true);
  });

  it("is a document for each answer where the template rewrites earlier ones", () => {
    const source =
      "{% for m in messages %}{% if m.role == 'user' %}U {{ m.content }}\n{% else %}A " +
      "{{ m.content.split('</think>')[-1] }}<|eot_id|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}A {% endif %}";
    const format = jinjaFormat(source, "forgetful", tokenizer);
    expect(showAll(chat("hi", "<think>x</think>Hello!", "bye", "Goodbye!"), { format })).toEqual([
      "<|begin_of_text|>U hi\nA «<think>x</think>Hello!<|eot_id|>»",
      "<|begin_of_text|>U hi\nA Hello!<|eot_id|>\nU bye\nA «Goodbye!<|eot_id|>»",
    ]);
    expect(showAll(chat("hi", "<think>x</think>Hello!", "bye", "Goodbye!"), { format, trainOn: "all" })).toEqual([
      "<|begin_of_text|>«U hi\nA Hello!<|eot_id|>\nU bye\nA Goodbye!<|eot_id|>\n»",
    ]);
  });

  it("is an error with its line if nothing of it can be learned", () => {
    expect(() => render({ messages: [{ role: "user", content: "hi" }] })).toThrow(
      "data.jsonl, line 7: no token to learn: expected an answer of the assistant, got user",
    );
    expect(() => render({ text: "" })).toThrow("data.jsonl, line 7: no token to learn: the text is empty");
  });
});
