// Answers of models that think first: what is thinking and what is text, and what later prompts have of it.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { answerChat } from "../../src/chat/answer.js";
import { Chat } from "../../src/chat/chat.js";
import { builtinFormat, type ChatFormat, jinjaFormat } from "../../src/chat/format.js";
import { findThinkingTags, ThinkingSplitter } from "../../src/chat/thinking.js";
import type { GenerateOptions } from "../../src/engine/request.js";
import type { Grammar } from "../../src/grammar/grammar.js";
import { FakeSession, FakeTokenizer } from "../support/fake-model.js";

const tags = { open: "<think>", close: "</think>" };

function split(stretches: readonly string[], isThinking = false) {
  const splitter = new ThinkingSplitter(tags, isThinking);
  const pieces = [...stretches.flatMap((stretch) => splitter.push(stretch)), ...splitter.finish()];
  const joined = (kind: string) =>
    pieces
      .filter((piece) => piece.kind === kind)
      .map((piece) => piece.text)
      .join("");
  expect(pieces.map((piece) => piece.text)).not.toContain("");
  expect([splitter.thinking, splitter.text]).toEqual([joined("thinking"), joined("text")]);
  return [joined("thinking"), joined("text")];
}

describe("the thinking of an answer", () => {
  test.each([
    [
      "is what stands between the tags at its beginning",
      "<think>\nwhy\nnot\n</think>\n\nYes.",
      false,
      "why\nnot",
      "Yes.",
    ],
    ["may come after white space", "\n <think>a</think>b", false, "a", "b"],
    ["may be empty", "<think>\n\n</think>\n\nYes.", false, "", "Yes."],
    ["may never end", "<think>hm </thin", false, "hm </thin", ""],
    ["begins in the prompt, where that opens it", "why\n</think>\nYes.", true, "why", "Yes."],
    ["is no text of later tags", "Yes <think>a</think>", false, "", "Yes <think>a</think>"],
    ["is not there in an answer that only begins like a tag", " <thin", false, "", " <thin"],
    ["is not there in any other answer, white space included", "\n Yes. \n", false, "", "\n Yes. \n"],
  ])("%s", (_, answer, isThinking, thinking, text) => {
    expect(split([answer], isThinking)).toEqual([thinking, text]);
    expect(split([...answer], isThinking)).toEqual([thinking, text]);
  });

  test("does not depend on the stretches in which the answer comes", () => {
    const stretch = fc.constantFrom("<think>", "</think>", "<", "</th", "ink>", "a", " ", "\n", "");
    fc.assert(
      fc.property(fc.array(stretch, { maxLength: 12 }), fc.boolean(), (stretches, isThinking) => {
        expect(split(stretches, isThinking)).toEqual(split([stretches.join("")], isThinking));
      }),
    );
  });

  test("has the tags that the template names, else the usual ones", () => {
    expect(findThinkingTags("{{ '[THINK]' + m.thinking + '[/THINK]' }}")).toEqual({
      open: "[THINK]",
      close: "[/THINK]",
    });
    expect(findThinkingTags("{{ message.content.split('</think>')[-1] }}")).toEqual(tags);
    expect(findThinkingTags("")).toEqual(tags);
  });
});

const special = ["<|begin|>", "<|eot_id|>", "<think>", "</think>"].map((text) => ({ text }));

async function ask(chat: Chat, answer: string, tokenizer: FakeTokenizer, options: GenerateOptions = {}) {
  const session = new FakeSession(tokenizer, () => answer, 1000);
  const pieces: [string, string][] = [];
  const running = answerChat(chat, session, tokenizer, options);
  for await (const { kind, text } of running) {
    const last = pieces.at(-1);
    if (last?.[0] === kind) {
      last[1] += text;
    } else {
      pieces.push([kind, text]);
    }
  }
  return { pieces, result: await running.result, grammar: session.options[0]?.grammar as Grammar | undefined };
}

describe("an answer with thinking", () => {
  test.each([
    ["written as text", new FakeTokenizer()],
    ["that are control tokens", new FakeTokenizer(special)],
  ])("comes as pieces of two kinds, with tags %s, and later prompts have its text only", async (_, tokenizer) => {
    const chat = new Chat(builtinFormat("bitnet", tokenizer), tokenizer);
    chat.addUser("one");
    const { pieces, result } = await ask(chat, "<think>\nhm, well\n</think>\n\nYes.<|eot_id|>", tokenizer);
    expect(pieces).toEqual([
      ["thinking", "hm, well"],
      ["text", "Yes."],
    ]);
    expect(result).toMatchObject({ thinking: "hm, well", text: "Yes.", finishReason: "eog" });
    expect(chat.messages.at(-1)).toEqual({ role: "assistant", content: "Yes.", thinking: "hm, well" });
    chat.addUser("two");
    expect(tokenizer.decode([...chat.promptIds()], { special: true })).toBe(
      "<|begin|>User: one<|eot_id|>Assistant: Yes.<|eot_id|>User: two<|eot_id|>Assistant: ",
    );
  });

  test("is all text in a format without thinking", async () => {
    const tokenizer = new FakeTokenizer();
    const { render } = builtinFormat("bitnet", tokenizer);
    const format: ChatFormat = { name: "own", render };
    const chat = new Chat(format, tokenizer);
    chat.addUser("one");
    const { result } = await ask(chat, "<think>a</think>b<|eot_id|>", tokenizer);
    expect(result.text).toBe("<think>a</think>b");
    expect(result).not.toHaveProperty("thinking");
  });

  test("begins with thinking where the template opens it", async () => {
    const source =
      "{% for m in messages %}{{ m.role }}: {{ m.content }}<|eot_id|>{% endfor %}" +
      "{% if add_generation_prompt %}Assistant: <think>\n{% if enable_thinking is defined and not enable_thinking %}" +
      "</think>\n{% endif %}{% endif %}";
    const tokenizer = new FakeTokenizer();
    const format = jinjaFormat(source, "model", tokenizer);
    expect(format.canSwitchThinking).toBe(true);
    const chat = new Chat(format, tokenizer);
    chat.addUser("one");
    const thought = await ask(chat, "<think>\nhm</think>Yes.<|eot_id|>", tokenizer);
    expect(thought.result).toMatchObject({ thinking: "hm", text: "Yes." });

    chat.removeAnswer();
    chat.thinking = false;
    const quick = await ask(chat, "<think>\n</think>\nYes.<|eot_id|>", tokenizer);
    expect(quick.result.text).toBe("Yes.");
    expect(quick.result).not.toHaveProperty("thinking");
  });
});

describe("an answer that a schema holds", () => {
  const schema = { type: "boolean" };
  const opens =
    "{% for m in messages %}{{ m.role }}: {{ m.content }}<|eot_id|>{% endfor %}Assistant: " +
    "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}";
  const knows = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}<|eot_id|>{% endfor %}Assistant: ";

  async function hold(source: string, answer: string, { tokenizer = new FakeTokenizer(), thinking = true } = {}) {
    const chat = new Chat(jinjaFormat(source, "model", tokenizer), tokenizer);
    chat.thinking = thinking ? undefined : false;
    chat.addUser("one");
    return await ask(chat, answer, tokenizer, { schema });
  }

  test("has its thinking before, where the template opens it", async () => {
    const { grammar, result } = await hold(opens, "<think>\n{hm</think>\ntrue<|eot_id|>");
    expect(result).toMatchObject({ thinking: "{hm", text: "true" });
    expect(grammar?.matches("{hm</think>\ntrue")).toBe(true);
    expect(grammar?.matches("true")).toBe(false);
    expect(grammar?.matches("hm</think>hm")).toBe(false);
    expect(grammar?.matches("a</think>b</think>true")).toBe(false);
  });

  test("may have thinking before, where the template knows of it", async () => {
    const { grammar, result } = await hold(knows, "<think>hm</think>true<|eot_id|>");
    expect(result).toMatchObject({ thinking: "hm", text: "true" });
    expect(["<think>hm</think>true", "true"].every((text) => grammar?.matches(text))).toBe(true);
    expect(grammar?.matches("hm</think>true")).toBe(false);
  });

  test("has none in a format that knows of none, or where it is switched off", async () => {
    for (const [source, thinking] of [
      ["{{ messages[0].content }}Assistant: ", true],
      [opens, false],
      [knows, false],
    ] as const) {
      const { grammar } = await hold(source, "true<|eot_id|>", { thinking });
      expect(grammar?.matches("true")).toBe(true);
      expect(grammar?.matches("<think></think>true")).toBe(false);
    }
  });

  test("has none between tags that are control tokens, which no grammar reaches", async () => {
    const tokenizer = new FakeTokenizer(special);
    const { grammar, result } = await hold(opens, "<think>\ntrue<|eot_id|>", { tokenizer });
    expect(grammar?.matches("true")).toBe(true);
    expect(result.text).toBe("true");
  });
});
