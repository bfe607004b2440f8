// The loop of a conversation: turns, commands, Ctrl-C, a context that fills up, terminals and pipes.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answerChat } from "../../src/chat/answer.js";
import { Chat } from "../../src/chat/chat.js";
import { encodeChat } from "../../src/chat/encode.js";
import { saveChat } from "../../src/chat/file.js";
import { builtinFormat, modelFormat } from "../../src/chat/format.js";
import { loadModel, type Model } from "../../src/engine/model.js";
import { FakeModel, type Script } from "../support/fake-model.js";
import { readFixture, root, runBitnet, tinyModel } from "../support/fixtures.js";
import { echo, Talk, talk } from "../support/talk.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bitnet-conversation-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("through a pipe", () => {
  test("every line is a turn, answers go to stdout, nothing else does", async () => {
    const model = new FakeModel(echo);
    const { out, err } = await talk(model, "one\n\n  \ntwo", { systemPrompt: "S", quiet: true });
    expect(out).toBe("re: one\nre: two\n");
    expect(err).toBe("");
    expect(model.session.prompts).toEqual([
      "<|begin|>System: S<|eot_id|>User: one<|eot_id|>Assistant: ",
      "<|begin|>System: S<|eot_id|>User: one<|eot_id|>Assistant: re: one<|eot_id|>User: two<|eot_id|>Assistant: ",
    ]);
    expect(model.session.closed).toBe(true);
  });

  test("a turn costs only its new tokens", async () => {
    const model = new FakeModel(echo);
    const { out } = await talk(model, "one\ntwo\nthree\n", { json: true });
    const timings = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).timings);
    const added = "<|User: two<|eot_id|>Assistant: ".length; // the end of the last answer is one token
    expect(timings[1].promptTokens - timings[1].reusedTokens).toBeLessThan(added);
    expect(timings[2].reusedTokens).toBeGreaterThanOrEqual(timings[1].promptTokens);
  });

  test("--json writes one line per answer, also for one that failed", async () => {
    const { out, err } = await talk(new FakeModel(echo), `one\n${"x".repeat(100)}\ntwo\n`, {
      json: true,
      contextSize: 80,
    });
    const lines = out.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ role: "assistant", content: "re: one", finishReason: "eog", droppedTurns: 0 }),
      { error: { code: "USAGE", message: expect.stringContaining("too long") } },
      expect.objectContaining({ content: "re: two" }),
    ]);
    expect(err).toContain("error: the message is too long");
  });

  test('a \\ joins lines and """ encloses them', async () => {
    const model = new FakeModel(echo);
    const input = 'a \\\nb\n"""c\n\n d\n"""\n"""e"""\nf\\\\\n"""g\nh';
    const { out } = await talk(model, input, { json: true });
    expect(
      out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).content),
    ).toEqual(["re: a \nb", "re: c\n\n d", "re: e", "re: f\\\\", "re: g\nh"]);
  });

  test("speeds go to stderr at the end", async () => {
    const { err } = await talk(new FakeModel(echo), "one\n");
    expect(err).toMatch(/^prefill: \d+ tokens in .*\ndecode: {2}\d+ tokens in .*\n$/);
  });

  test("the speed of decoding counts evaluated tokens: of each answer all but the last", async () => {
    const script: Script = (prompt) => (prompt.includes("two<") ? "abcd<|eot_id|>" : "ab<|eot_id|>");
    const { err } = await talk(new FakeModel(script), "one\ntwo\n/stats\n");
    const answers = { one: "ab".length, two: "abcd".length }; // and an end, which is the last token
    expect([...err.matchAll(/^decode: {2}(\d+) tokens/gm)].map(([, count]) => Number(count))).toEqual([
      answers.two,
      answers.one + answers.two,
      answers.one + answers.two,
    ]);
  });

  test("SIGINT leaves while reading", async () => {
    const conversation = new Talk(new FakeModel(echo));
    conversation.type("one\n");
    await conversation.until("re: one\n");
    conversation.interrupt();
    expect(await conversation.end).toMatchObject({ code: "ABORTED" });
  });

  test("a given seed counts up from answer to answer", async () => {
    const model = new FakeModel(echo);
    await talk(model, "one\n/regen\n", { generate: { seed: 7, temperature: 1 } });
    expect(model.session.options.map(({ seed, temperature }) => [seed, temperature])).toEqual([
      [7, 1],
      [8, 1],
    ]);
  });
});

describe("an answer ends", () => {
  test("at every end-of-generation token, which is not printed", async () => {
    const { out } = await talk(new FakeModel(() => "A<|end|>B"), "one\n");
    expect(out).toBe("A\n");
  });

  test("at a stop string, which is not printed nor remembered", async () => {
    const model = new FakeModel(() => "yes User: no");
    const { out } = await talk(model, "one\ntwo\n", { generate: { stop: ["\nUser:", " User:"] } });
    expect(out).toBe("yes\nyes\n");
    expect(model.session.prompts[1]).toContain("Assistant: yes<|eot_id|>User: two");
  });

  test("after -n tokens, and the next turn closes it", async () => {
    const model = new FakeModel(() => "abcdef");
    const { out } = await talk(model, "one\ntwo\n", { generate: { maxTokens: 3 } });
    expect(out).toBe("abc\nabc\n");
    expect(model.session.prompts[1]).toContain("Assistant: abc<|eot_id|>User: two");
  });
});

describe("a full context", () => {
  test("costs the oldest turns, not the system prompt", async () => {
    const model = new FakeModel(echo);
    await talk(model, "first\nsecond\nthird\nfourth\n", { systemPrompt: "S", contextSize: 130 });
    const last = model.session.prompts.at(-1) ?? "";
    expect(last).toMatch(/^<\|begin\|>System: S<\|eot_id\|>User: /);
    expect(last).not.toContain("first");
    expect(last).toContain("User: fourth<|eot_id|>Assistant: ");
    const lengths = model.session.prompts.map(
      (prompt) => model.tokenizer.encode(prompt, { addSpecial: false, parseSpecial: true }).length,
    );
    expect(Math.max(...lengths)).toBeLessThanOrEqual(130);
  });

  test("costs no more turns than it takes to free a quarter of it", async () => {
    const model = new FakeModel(echo);
    const contextSize = 400;
    await talk(model, Array.from({ length: 30 }, (_, i) => `message ${i}\n`).join(""), { contextSize });
    const lengths = model.session.prompts.map(
      (prompt) => model.tokenizer.encode(prompt, { parseSpecial: true }).length,
    );
    const afterDrop = lengths.filter((length, i) => length < (lengths[i - 1] ?? 0));
    expect(afterDrop.length).toBeGreaterThan(2);
    for (const length of afterDrop) {
      expect(length).toBeLessThanOrEqual(0.75 * contextSize + 1); // the test counts BOS twice
      expect(length).toBeGreaterThan(0.6 * contextSize); // one turn more would be less
    }
  });

  test("a saved chat of very many messages is cut to size at once", async () => {
    const path = join(folder, "huge.json");
    const messages = Array.from({ length: 20_001 }, (_, i) => ({
      role: i % 2 === 0 ? "user" : "assistant",
      content: `message ${i}`,
    }));
    await saveChat(path, { system: "S", messages: messages.slice(0, -1) });
    const model = new FakeModel(echo);
    const { out } = await talk(model, `/load ${path}\nhi\n`, { json: true });
    expect(JSON.parse(out)).toMatchObject({ content: "re: hi", droppedTurns: expect.any(Number) });
    expect(model.session.prompts[0]).toContain("message 19999");
  });

  test("in the middle of an answer: the answer goes on after the oldest turns are gone", async () => {
    const long = `${Array.from({ length: 40 }, (_, i) => `é${i}`).join(" ")}.<|eot_id|>`;
    const plain = long.replace("<|eot_id|>", "");
    const script: Script = (prompt) => (prompt.includes("go<") ? long : "ok<|eot_id|>");
    // Every size, so that the cut falls on every byte, halves of characters included.
    for (let contextSize = 230; contextSize < 240; contextSize++) {
      const model = new FakeModel(script);
      const { out } = await talk(model, "one one one one one one\ntwo\ngo\n", {
        systemPrompt: "S",
        contextSize,
        json: true,
      });
      const answer = JSON.parse(out.trim().split("\n").at(-1) ?? "");
      expect(answer).toMatchObject({ content: plain, finishReason: "eog" });
      expect(answer.droppedTurns).toBeGreaterThan(0);
      const last = model.session.prompts.at(-1) ?? "";
      expect(last).toMatch(/^<\|begin\|>System: S<\|eot_id\|>User: /);
      expect(last).not.toContain("one");
    }
  });

  test("stops an answer that has nothing left to forget", async () => {
    const { out } = await talk(new FakeModel(() => "abc "), "go\n", { contextSize: 40, json: true });
    expect(JSON.parse(out)).toMatchObject({ finishReason: "context", droppedTurns: 0 });
  });

  test("a stop string may span the place where turns were forgotten", async () => {
    const text = `${"x".repeat(60)}STOP`;
    const script: Script = (prompt) => (prompt.endsWith("one<|eot_id|>Assistant: ") ? "ok<|eot_id|>" : text);
    for (let contextSize = 108; contextSize < 118; contextSize++) {
      const model = new FakeModel(script);
      const options = { contextSize, generate: { stop: ["STOP"] }, json: true };
      const { out } = await talk(model, "one\ntwo\n", options);
      expect(JSON.parse(out.trim().split("\n").at(-1) ?? "")).toMatchObject({
        content: "x".repeat(60),
        finishReason: "stop",
        stopString: "STOP",
      });
    }
  });

  test("a message that cannot fit is refused and the chat goes on", async () => {
    const model = new FakeModel(echo);
    const { out, err } = await talk(model, `one\n${"x".repeat(200)}\ntwo\n`, { contextSize: 150 });
    expect(out).toBe("re: one\nre: two\n");
    expect(model.session.prompts[1]).toContain("User: one<|eot_id|>Assistant: re: one<|eot_id|>User: two");
    expect(err).toMatch(/error: the message is too long: .* takes \d+ of the context's 150 tokens\nhint: .*-c/);
  });

  test("a system prompt that leaves no room is refused at the start", async () => {
    const options = { systemPrompt: "x".repeat(200), contextSize: 100 };
    await expect(talk(new FakeModel(echo), "one\n", options)).rejects.toMatchObject({ code: "USAGE" });
  });
});

describe("templates", () => {
  test("--chat-template takes a name or a Jinja file", async () => {
    const path = join(folder, "own.jinja");
    await writeFile(path, "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<answer>");
    for (const [chatTemplate, prompt] of [
      ["falcon_e", "<|begin|>userone\nassistant\n"],
      [path, "<|begin|><user>one<answer>"],
    ]) {
      const model = new FakeModel(() => "A<|eot_id|>", { chatTemplate: "{{ raise_exception('not this one') }}" });
      await talk(model, "one\n", { chatTemplate });
      expect(model.session.prompts).toEqual([prompt]);
    }
  });

  test.each([
    ["nowhere.jinja", "--chat-template nowhere.jinja is neither a chat format nor a file"],
    ["/", "--chat-template / cannot be read"],
  ])("%s as a template is refused before anything is read", async (chatTemplate, message) => {
    await expect(talk(new FakeModel(echo), "one\n", { chatTemplate })).rejects.toThrow(message);
  });

  test("a template that refuses a system prompt says so at the start", async () => {
    const chatTemplate =
      "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{{ messages[0].content }}";
    const model = new FakeModel(() => "A<|eot_id|>", { chatTemplate });
    await expect(talk(model, "one\n", { systemPrompt: "S" })).rejects.toThrow("no system role");
    expect((await talk(model, "one\n/system S\n")).err).toContain(
      "error: the model's chat template failed: no system role",
    );
  });
});

describe("Ctrl-C", () => {
  const endless = () => "abc ";

  test("stops the answer, which stays in the chat", async () => {
    const model = new FakeModel((prompt) => (prompt.includes("two") ? "fine<|eot_id|>" : endless()));
    const conversation = new Talk(model, { contextSize: 100_000 });
    conversation.type("one\n");
    await conversation.until("abc abc");
    conversation.interrupt();
    const stopped = await conversation.until("\n");
    conversation.stdin.end("two\n");
    expect(await conversation.end).toBeUndefined();
    expect(conversation.out.slice(stopped)).toBe("fine\n");
    expect(model.session.prompts[1]).toMatch(/Assistant: abc abc[abc ]*<\|eot_id\|>User: two/);
    expect(conversation.signals.listenerCount("SIGINT")).toBe(0);
  });

  test("before the first token leaves the question to be asked again", async () => {
    const model = new FakeModel(echo);
    const chat = new Chat(builtinFormat("bitnet", model.tokenizer), model.tokenizer);
    chat.addUser("one");
    const session = model.createSession({});
    const answer = answerChat(chat, session, model.tokenizer, { signal: AbortSignal.abort() });
    let next = await answer.next();
    while (!next.done) {
      next = await answer.next();
    }
    expect(next.value).toMatchObject({ text: "", finishReason: "aborted" });
    expect(chat.isUnanswered).toBe(true);
  });

  test("twice during an answer leaves", async () => {
    const conversation = new Talk(new FakeModel(endless), { contextSize: 100_000 });
    conversation.type("one\n");
    await conversation.until("abc abc");
    conversation.interrupt();
    conversation.interrupt();
    expect(await conversation.end).toMatchObject({ code: "ABORTED" });
  });
});

interface Reference {
  prompts: { name: string; ids: number[]; packed: { greedy_ids: number[]; greedy_text: string } }[];
}

const reference = JSON.parse(readFixture("tiny-bitnet", "reference.json").toString()) as Reference;
const answerOf = (name: string) => reference.prompts.find((prompt) => prompt.name === name)?.packed.greedy_text;

describe("a trained model", () => {
  const greedy = { temperature: 0, maxTokens: 128 };
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(tinyModel);
  });
  afterAll(() => model.close());

  test.each([
    ["chat_bitnet", [{ role: "user", content: "What is BitNet?" }]],
    [
      "chat_two_turns",
      [
        { role: "user", content: "My name is Lily." },
        { role: "assistant", content: "Nice to meet you, Lily!" },
        { role: "user", content: "What is my name?" },
      ],
    ],
  ])("%s has the reference's ids and answer", async (name, messages) => {
    const ids = reference.prompts.find((prompt) => prompt.name === name)?.ids;
    for (const format of [
      modelFormat(model.info.chatTemplate, model.tokenizer),
      builtinFormat("bitnet", model.tokenizer),
    ]) {
      expect(encodeChat(format, model.tokenizer, messages)).toEqual(ids);
    }
    const path = join(folder, `${name}.json`);
    const history = messages.slice(0, -1);
    await saveChat(path, { system: "", messages: history });
    const { out } = await talk(model, `/load ${path}\n${messages.at(-1)?.content}\n`, { generate: greedy, json: true });
    expect(JSON.parse(out)).toMatchObject({ content: answerOf(name), finishReason: "eog" });
    expect(JSON.parse(out).timings.promptTokens).toBe(ids?.length);
  });

  test("remembers, and evaluates only what is new", async () => {
    const { out } = await talk(model, "My name is Lily.\nWhat is my name?\n", { generate: greedy, json: true });
    const [first, second] = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(second.content).toBe("Your name is Lily.");
    expect(second.timings.reusedTokens).toBe(first.timings.promptTokens + first.timings.generatedTokens - 1);
    expect(second.timings.decodedTokens).toBe(second.timings.generatedTokens - 1);
  });

  test("a chat is tokenized as its text is", () => {
    const format = modelFormat(model.info.chatTemplate, model.tokenizer);
    expect(format.name).toBe("model");
    const content = fc.oneof(
      fc.string({ unit: "grapheme" }),
      fc.lorem(),
      fc.constantFrom(" x ", "\n\n", "<|eot", "id|>"),
    );
    fc.assert(
      fc.property(fc.array(content, { minLength: 1, maxLength: 5 }), (contents) => {
        const messages = contents.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));
        const text = format.render(messages, true);
        expect(encodeChat(format, model.tokenizer, messages)).toEqual([
          ...model.tokenizer.encode(text, { addSpecial: false, parseSpecial: true }),
        ]);
      }),
      { numRuns: 300 },
    );
  });

  test("a literal end-of-turn in a message is text", async () => {
    const { tokenizer } = model;
    const chat = new Chat(builtinFormat("bitnet", tokenizer), tokenizer);
    chat.addUser("a<|eot_id|>b");
    expect(chat.promptIds().filter((id) => tokenizer.isEog(id))).toHaveLength(1);
    expect(tokenizer.decode(chat.promptIds() as number[], { special: true })).toBe(
      "<|begin_of_text|>User: a<|eot_id|>b<|eot_id|>Assistant: ",
    );
  });

  test("refuses megabytes of text and goes on", async () => {
    const input = `${"many words ".repeat(300_000)}\nWhat is BitNet?\n`;
    const { out, err } = await talk(model, input, { generate: greedy });
    expect(out).toBe(`${answerOf("chat_bitnet")}\n`);
    expect(err).toContain("error: the message is too long");
  });

  test("goes on when a small context is full", async () => {
    const input = "Tell me a story about a cat.\nTell me a story about a dog.\nWhat is BitNet?\n";
    const { out } = await talk(model, input, { generate: greedy, contextSize: 150, json: true });
    const answers = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(answers.at(-1).content).toBe(answerOf("chat_bitnet"));
    expect(answers.some((answer) => answer.droppedTurns > 0)).toBe(true);
  });
});

const bin = join(root, "bin", "bitnet.js");

describe("bitnet run -cnv", () => {
  const args = [bin, "run", "-m", tinyModel, "-cnv", "-temp", "0", "--quiet"];

  test("talks through a pipe; -p is the system prompt", async () => {
    const path = join(folder, "cli.json");
    const { status, stdout, stderr } = await runBitnet([...args.slice(1), "-p", "Be\\nkind."], {
      input: `What is BitNet?\n/save ${path}\n`,
    });
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toBe(`${answerOf("chat_bitnet")}\n`);
    expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({ system: "Be\nkind." });
  });

  test("ends quietly when nobody reads any more", async () => {
    const { status, stderr } = await runBitnet(args.slice(1), {
      input: "What is BitNet?\n".repeat(20),
      onOutput: (_, closeStdout) => closeStdout(),
    });
    expect([status, stderr]).toEqual([0, ""]);
  });

  test.each([
    [["-p", "-"], 2, "with -cnv the standard input is the conversation"],
    [["--json", "--logprobs", "3"], 2, "--logprobs cannot be used with -cnv"],
    [["--chat-template", "no.jinja"], 1, "--chat-template no.jinja is neither a chat format nor a file"],
    [["-c", "20", "-p", "a system prompt of more tokens than this context has"], 1, "the system prompt is too long"],
  ])("refuses %j", async (more, expected, message) => {
    const { status, stdout, stderr } = await runBitnet([...args.slice(1), ...more], { input: "Hi\n" });
    expect([status, stdout]).toEqual([expected, ""]);
    expect(stderr).toContain(`error: ${message}`);
  });

  test("ends at /exit although its input stays open", async () => {
    const child = spawn(process.execPath, args, { stdio: ["pipe", "ignore", "ignore"] });
    child.stdin.write("/exit\n");
    expect(await once(child, "exit")).toEqual([0, null]);
  });

  test("ends with 130 at SIGINT although its input stays open", async () => {
    const endless = ["--ignore-eos", "--kernel", "scalar", "-t", "1"]; // as good as: it is stopped far before its end
    const child = spawn(process.execPath, [...args, ...endless], { stdio: "pipe" });
    const exit = once(child, "exit");
    child.stdin.write("What is BitNet?\n");
    await once(child.stdout, "data");
    child.kill("SIGINT");
    child.stdin.write("/help\n"); // is answered when the first signal has stopped the answer
    await once(child.stderr, "data");
    child.kill("SIGINT");
    expect(await exit).toEqual([130, null]);
  });
});
