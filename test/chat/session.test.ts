// Chats as users of the library see them, on the bundled model.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answerChat, Chat, type ChatMessage, loadModel, type Model, modelFormat } from "../../src/index.js";
import { tinyModel } from "../support/fixtures.js";

const greedy = { temperature: 0, maxTokens: 12 };
let model: Model;

beforeAll(async () => {
  model = await loadModel(tinyModel);
});
afterAll(() => {
  model.close();
});

function usage(message: RegExp, hint?: string) {
  const error = { code: "USAGE", message: expect.stringMatching(message) };
  return expect.objectContaining(hint === undefined ? error : { ...error, hint });
}

describe("send", () => {
  test("answers as a chat that is put together by hand", async () => {
    await using chat = model.createChat({ system: "You tell stories." });
    await using session = model.createSession();
    const byHand = new Chat(modelFormat(model.info.chatTemplate, model.tokenizer), model.tokenizer);
    byHand.system = "You tell stories.";
    for (const question of ["Tell me about a dog.", "And then?"]) {
      byHand.addUser(question);
      const { text, finishReason, timings } = await answerChat(byHand, session, model.tokenizer, greedy).result;
      const answer = await chat.send(question, greedy).result;
      expect(answer).toMatchObject({ text, finishReason, droppedTurns: 0 });
      expect(answer.timings.reusedTokens).toBe(timings.reusedTokens);
      expect(answer.text.length).toBeGreaterThan(10);
    }
    expect(chat.messages).toEqual(byHand.messages);
    expect(chat.system).toBe("You tell stories.");
  });

  test("gives pieces to a loop and the result beside it", async () => {
    await using chat = model.createChat({ generate: greedy });
    const answer = chat.send({ role: "user", content: "Tell me about a dog." });
    let text = "";
    for await (const piece of answer) {
      text += piece.text;
    }
    expect(await answer.result).toMatchObject({ text, finishReason: "length" });
  });

  test("uses the options of the chat where it has none of its own", async () => {
    await using chat = model.createChat({ generate: { ...greedy, maxTokens: 3 } });
    expect((await chat.send("Hi").result).timings.generatedTokens).toBe(3);
    expect((await chat.send("Hi", { maxTokens: 5 }).result).timings.generatedTokens).toBe(5);
  });

  test("keeps what there is of an answer that a signal stops or whose loop is left", async () => {
    await using chat = model.createChat({ generate: { temperature: 0, ignoreEos: true } });
    const controller = new AbortController();
    const stopped = chat.send("Tell me about a dog.", { signal: controller.signal });
    let read = "";
    for await (const { text } of stopped) {
      read += text;
      controller.abort();
    }
    expect(await stopped.result).toMatchObject({ text: read, finishReason: "aborted" });
    const left = chat.send("And then?");
    for await (const { text } of left) {
      expect(chat.messages).toHaveLength(3);
      read = text;
      break;
    }
    expect(await left.result).toMatchObject({ text: read, finishReason: "aborted" });
    expect(chat.messages.map(({ role }) => role)).toEqual(["user", "assistant", "user", "assistant"]);
    expect(chat.messages.at(-1)).toEqual({ role: "assistant", content: read });
  });

  test("takes one message at a time and says so before it changes anything", async () => {
    await using chat = model.createChat({ generate: greedy });
    const first = chat.send("one");
    await first.next();
    await expect(chat.send("two").result).rejects.toEqual(usage(/busy/));
    expect(() => chat.clear()).toThrow(usage(/busy/));
    expect(() => {
      chat.system = "S";
    }).toThrow(usage(/busy/));
    await first.result;
    expect(chat.messages.map(({ content }) => content)[0]).toBe("one");
    expect((await chat.send("two").result).text).not.toBe("");
  });

  test("refuses a message that cannot fit, and the chat goes on", async () => {
    await using chat = model.createChat({ contextSize: 64, generate: greedy });
    await chat.send("Hi").result;
    const before = chat.messages;
    await expect(chat.send("dog ".repeat(100)).result).rejects.toEqual(usage(/message is too long/));
    expect(chat.messages).toEqual(before);
    expect((await chat.send("Hi").result).text).not.toBe("");
  });

  test("is over when the chat is closed", async () => {
    const chat = model.createChat();
    chat.close();
    chat.close();
    await expect(chat.send("Hi").result).rejects.toEqual(usage(/closed/));
  });
});

describe("createChat", () => {
  test("goes on where the messages of another chat ended", async () => {
    await using whole = model.createChat({ system: "S", generate: greedy });
    await whole.send("Tell me about a dog.").result;
    await using again = model.createChat({ system: "S", generate: greedy, messages: whole.messages });
    const { text } = await again.send("And then?").result;
    expect(again.messages).toHaveLength(4);
    expect(text).toBe((await whole.send("And then?").result).text);
  });

  test("takes a format by name or as an object", async () => {
    await using named = model.createChat({ format: "chatml" });
    expect(named.format.name).toBe("chatml");
    await using own = model.createChat({ format: { name: "own", render: () => "Once upon a time" }, generate: greedy });
    expect((await own.send("ignored").result).text).not.toBe("");
    expect(() => model.createChat({ format: "chatlm" })).toThrow(usage(/no chat format "chatlm"/));
  });

  test("clear forgets the messages and keeps the system message", async () => {
    await using chat = model.createChat({ system: "S", generate: greedy });
    const first = await chat.send("Hi").result;
    chat.clear();
    expect(chat.messages).toEqual([]);
    expect((await chat.send("Hi").result).text).toBe(first.text);
  });

  test.each([
    [{ sytem: "S" }, /^createChat has no option "sytem"/, "did you mean system?"],
    [{ temperature: 0 }, /^createChat has no option "temperature"/, undefined],
    [{ contextSize: 0 }, /^contextSize/, undefined],
    [{ system: 3 }, /^system: expected a text, got 3/, undefined],
    [{ generate: { temprature: 0 } }, /^createChat: generate has no option/, "did you mean temperature?"],
    [{ generate: { topP: 2 } }, /^topP/, undefined],
    [{ messages: [{ role: "assistant", content: "x" }] }, /^messages: message 1 is not of the form/, undefined],
  ])("refuses %j by name", (options, message, hint) => {
    expect(() => model.createChat(options as never)).toThrow(usage(message, hint));
  });

  test.each([
    [{ max_tokens: 1 }, /^send has no option "max_tokens"/, "did you mean maxTokens?"],
    [{ maxTokens: -2 }, /^maxTokens/, undefined],
  ])("send refuses %j at once", async (options, message, hint) => {
    await using chat = model.createChat();
    expect(() => chat.send("Hi", options as never)).toThrow(usage(message, hint));
    expect(chat.messages).toEqual([]);
  });

  test.each([3, null, { role: "system", content: "x" }, { role: "user", content: 3 }])(
    "send refuses the message %j at once",
    async (message) => {
      await using chat = model.createChat();
      expect(() => chat.send(message as unknown as ChatMessage)).toThrow(usage(/^send: message 1 is not of the form/));
    },
  );
});
