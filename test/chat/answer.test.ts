// Answers: the same text as a generation of the same tokens, room in the context, what is kept of one that is cut off.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { answerChat } from "../../src/chat/answer.js";
import { Chat } from "../../src/chat/chat.js";
import { builtinFormat } from "../../src/chat/format.js";
import { FakeModel, FakeSession, FakeTokenizer } from "../support/fake-model.js";
import { byteId, bytesOf, idOf, openSpmTokenizer, scriptedSession } from "../support/scripted-session.js";

const spm = openSpmTokenizer();
const bos = idOf("<s>");

async function collect<Item>(pieces: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const piece of pieces) {
    all.push(piece);
  }
  return all;
}

describe("the text of an answer", () => {
  // Words, ends of text, whole characters and parts of them: stray bytes of all kinds.
  const token = fc.oneof(
    fc.constantFrom(...["▁upon", "▁a", "▁time", ",", "▁", "e", "</s>"].map(idOf)),
    fc.constantFrom(0xe2, 0x98, 0x83, 0xc3, 0xa9, 0xf0, 0xff, 0x41).map(byteId),
  );
  const ids = fc.array(
    fc.oneof(
      token.map((id) => [id]),
      fc.constantFrom(bytesOf("☃"), bytesOf("é")),
    ),
    { maxLength: 12 },
  );
  const stop = fc.array(fc.constantFrom("e", " a", "a t", "☃", "é☃", "time,", "\ufffd", " ", "upon a time"), {
    maxLength: 3,
  });

  test("is that of a generation at the beginning of a text, whatever the tokens and stop strings", async () => {
    await fc.assert(
      fc.asyncProperty(ids, stop, fc.integer({ min: -1, max: 12 }), async (groups, stop, maxTokens) => {
        const said = groups.flat();
        const options = { stop, maxTokens, seed: 1 };
        const generated = scriptedSession(spm, said, 400).generate([bos], options);
        const pieces = await collect(generated);
        const expected = await generated.result;
        expect(pieces.map((piece) => piece.text).join("")).toBe(expected.text);
        expect(pieces.map((piece) => piece.id)).toEqual(expected.tokens);

        const chat = new Chat(builtinFormat("bitnet", spm), spm);
        chat.addUser("Once");
        const answer = answerChat(chat, scriptedSession(spm, said, 400), spm, options);
        const texts = (await collect(answer)).map((piece) => piece.text);
        const { text, finishReason, stopString, timings } = await answer.result;
        expect({ text, finishReason, stopString }).toEqual({
          text: expected.text,
          finishReason: expected.finishReason,
          stopString: expected.stopString,
        });
        expect(texts.join("")).toBe(text);
        expect(texts).not.toContain("");
        expect(timings.generatedTokens).toBe(expected.tokens.length);
        expect(chat.messages.at(-1)).toEqual({ role: "assistant", content: text });
      }),
      { numRuns: 300 },
    );
  });
});

describe("a message", () => {
  const tokenizer = new FakeTokenizer();
  const minAnswerRoom = 4;

  /** A chat with one answered turn and a message, both so long, and the length of a prompt of the message alone. */
  function askTwice(content: string) {
    const chat = new Chat(builtinFormat("bitnet", tokenizer), tokenizer);
    chat.addUser(content);
    const alone = chat.promptIds().length;
    chat.addAnswer("ok", [...tokenizer.encode("ok<|eot_id|>", { addSpecial: false, parseSpecial: true })]);
    chat.addUser(content);
    return { chat, alone };
  }

  test("that leaves just room for an answer, once the rest is forgotten, is answered; one token longer is refused", async () => {
    const { chat, alone } = askTwice("x".repeat(50));
    const session = new FakeSession(tokenizer, () => "ok<|eot_id|>", alone + minAnswerRoom);
    expect(await answerChat(chat, session, tokenizer).result).toMatchObject({ text: "ok", droppedTurns: 1 });

    const longer = askTwice("x".repeat(51));
    await expect(answerChat(longer.chat, session, tokenizer).result).rejects.toMatchObject({
      code: "USAGE",
      message: `the message is too long: with the system prompt it takes ${alone + 1} of the context's ${session.contextSize} tokens`,
    });
    expect(longer.chat.messages.map(({ role }) => role)).toEqual(["user", "assistant"]);
  });

  test("that leaves just room for an answer costs no turn", async () => {
    const { chat } = askTwice("x");
    const session = new FakeSession(tokenizer, () => "ok<|eot_id|>", chat.promptIds().length + minAnswerRoom);
    expect((await answerChat(chat, session, tokenizer).result).droppedTurns).toBe(0);
    const { chat: same } = askTwice("x");
    const smaller = new FakeSession(tokenizer, () => "ok<|eot_id|>", session.contextSize - 1);
    expect((await answerChat(same, smaller, tokenizer).result).droppedTurns).toBe(1);
  });
});

describe("an answer whose loop is left", () => {
  test("stays in the chat as far as it was read, and the session is free", async () => {
    const model = new FakeModel(() => "abc ");
    const chat = new Chat(builtinFormat("bitnet", model.tokenizer), model.tokenizer);
    chat.addUser("one");
    const answer = answerChat(chat, model.createSession({}), model.tokenizer);
    let read = "";
    for await (const { text } of answer) {
      read += text;
      if (read.length === 6) {
        break;
      }
    }
    expect(await answer.result).toMatchObject({ text: "abc ab", finishReason: "aborted" });
    expect(chat.messages.at(-1)).toEqual({ role: "assistant", content: "abc ab" });
  });
});
