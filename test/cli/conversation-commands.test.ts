// What is typed after a slash in a conversation.

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { listSamplingParameters } from "../../src/engine/request.js";
import { Grammar } from "../../src/grammar/grammar.js";
import { FakeModel } from "../support/fake-model.js";
import { tinyModel } from "../support/fixtures.js";
import { echo, TerminalTalk, talk } from "../support/talk.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bitnet-commands-"));
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

describe("commands", () => {
  test("/clear forgets the chat and keeps the system prompt", async () => {
    const model = new FakeModel(echo);
    await talk(model, "one\n/clear\ntwo\n", { systemPrompt: "S" });
    expect(model.session.prompts[1]).toBe("<|begin|>System: S<|eot_id|>User: two<|eot_id|>Assistant: ");
  });

  test("/system shows, changes and removes the system prompt", async () => {
    const model = new FakeModel(echo);
    const { err } = await talk(model, '/system\none\n/system T\n/system\n/system ""\ntwo\n', {
      systemPrompt: "S",
      quiet: true,
    });
    expect(err).toBe("S\nT\n");
    expect(model.session.prompts[1]).toBe(
      "<|begin|>User: one<|eot_id|>Assistant: re: one<|eot_id|>User: two<|eot_id|>Assistant: ",
    );
  });

  test("/regen answers the same prompt again", async () => {
    let count = 0;
    const model = new FakeModel(() => `answer ${++count}<|eot_id|>`);
    const { out, err } = await talk(model, "/regen\none\n/regen\ntwo\n");
    expect(out).toBe("answer 1\nanswer 2\nanswer 3\n");
    expect(err).toContain("error: there is no answer yet");
    expect(model.session.prompts[1]).toBe(model.session.prompts[0]);
    expect(model.session.prompts[2]).toContain("answer 2<|eot_id|>User: two");
  });

  test("/save and /load carry a chat from one conversation to the next", async () => {
    const path = join(folder, "my chat.json");
    await talk(new FakeModel(echo), `one\n/save ${path}\n`, { systemPrompt: "S", generate: { topK: 5 } });
    expect(JSON.parse(await readFile(path, "utf8"))).toEqual({
      format: "bitnet-chat",
      version: 1,
      model: "fake",
      template: "bitnet",
      system: "S",
      messages: [
        { role: "user", content: "one" },
        { role: "assistant", content: "re: one" },
      ],
      options: { topK: 5, contextSize: 1000 },
    });
    const model = new FakeModel(echo);
    await talk(model, `/load ${path}\ntwo\n`);
    expect(model.session.prompts[0]).toBe(
      "<|begin|>System: S<|eot_id|>User: one<|eot_id|>Assistant: re: one<|eot_id|>User: two<|eot_id|>Assistant: ",
    );
  });

  test("a chat that cannot be saved or loaded goes on", async () => {
    const bad = join(folder, "bad.json");
    await writeFile(bad, "{}");
    const input = `one\n/save ${folder}/none/x.json\n/save\n/load ${bad}\n/load ${folder}\ntwo\n`;
    const model = new FakeModel(echo);
    const { out, err } = await talk(model, input, { quiet: true });
    expect(out).toBe("re: one\nre: two\n");
    expect(err.trimEnd().split("\n")).toEqual([
      `error: cannot save the chat to ${folder}/none/x.json: no such file or directory`,
      "error: /save needs the name of a file",
      `error: ${bad} is not a saved chat: expected an object with "format": "bitnet-chat"`,
      `error: cannot load the chat from ${folder}: it is not a regular file`,
    ]);
    expect(model.session.prompts[1]).toContain("re: one");
  });

  test.each([
    ["/sav x", "unknown command /sav", "did you mean /save?"],
    ["/quitt", "unknown command /quitt", "did you mean /quit?"],
    ["/constructor", "unknown command /constructor", "/help"],
  ])("%s is answered with what there is", async (line, message, hint) => {
    const { out, err } = await talk(new FakeModel(echo), `${line}\n`);
    expect(out).toBe("");
    expect(err).toContain(`error: ${message}\n`);
    expect(err).toContain(hint);
  });

  test("/help names every command", async () => {
    const { err } = await talk(new FakeModel(echo), "/help\n");
    for (const name of ["/clear", "/system", "/regen", "/save", "/load", "/stats", "/exit", "/help"]) {
      expect(err).toContain(name);
    }
  });

  test("/stats tells tokens", async () => {
    const { err } = await talk(new FakeModel(echo), "one\n/stats\n");
    expect(err).toContain("messages: 2\n");
    expect(err).toMatch(/context: {2}\d+ of 1000 tokens\n/);
  });

  test("/exit leaves what comes after it unread", async () => {
    const { out } = await talk(new FakeModel(echo), "one\n/exit\ntwo\n");
    expect(out).toBe("re: one\n");
  });

  test.each([
    ["//help is text", "/help is text"],
    ["/usr/bin is a path", "/usr/bin is a path"],
  ])("%s is a message", async (line, message) => {
    const { out } = await talk(new FakeModel(echo), `${line}\n`);
    expect(out).toBe(`re: ${message}\n`);
  });
});

describe("names", () => {
  test.each(["/bye", "/quit", "/q", "/EXIT"])("%s leaves", async (line) => {
    const { out } = await talk(new FakeModel(echo), `one\n${line}\ntwo\n`);
    expect(out).toBe("re: one\n");
  });

  test("/? is the list of commands", async () => {
    expect((await talk(new FakeModel(echo), "/?\n")).err).toContain("/set [NAME VALUE]");
  });

  test("a block is a message, whatever it begins with", async () => {
    const { out } = await talk(new FakeModel(echo), '"""/help"""\n/multiline\n/exit\n"""\n');
    expect(out).toBe("re: /help\nre: /exit\n");
  });
});

describe("/set", () => {
  test("changes every parameter of sampling, by the library's name, the option's and with underscores", async () => {
    for (const { name, kind, option, aliases, least } of listSamplingParameters().filter((row) => row.option !== "")) {
      const text = name === "samplers" ? "top_k" : "x"; // a text that it takes
      const value = kind === "texts" ? text : String(Math.max(least, 0) + (kind === "whole" ? 1 : 0.5));
      const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      const spellings = [name, snake, option.replace(/^--| .*/g, ""), ...aliases.split(" ").filter((alias) => alias)];
      for (const spelling of spellings) {
        const model = new FakeModel(echo);
        const { err } = await talk(model, `/set ${spelling} ${value}\none\n`, { quiet: true });
        expect(err).toBe("");
        expect(model.session.options[0]).toHaveProperty(name, kind === "texts" ? [text] : Number(value));
      }
    }
  });

  test("holds answers to a grammar or a schema, typed as they are, one at a time", async () => {
    const model = new FakeModel(echo);
    const lines = [
      '/set grammar root ::= "yes" | "no"',
      "one",
      '/set schema {"type": "boolean"}',
      "two",
      "/set schema none",
      "three",
    ];
    const { err } = await talk(model, `${lines.join("\n")}\n`, { quiet: true });
    expect(err).toBe("");
    const [first, second, third] = model.session.options;
    const holds = (text: string) =>
      [first, second].map(({ grammar } = {}) => grammar instanceof Grammar && grammar.matches(text));
    expect(holds("yes")).toEqual([true, false]);
    expect(holds("true")).toEqual([false, true]);
    expect([third?.grammar, third?.schema]).toEqual([undefined, undefined]);
    const wrong = await talk(new FakeModel(echo), '/set grammar root ::= (\n/set schema {"not": {}}\n/set schema {\n');
    expect(wrong.err).toMatch(/\/set grammar: .*line 1, column 11.*\/set schema: .*no text.*not valid JSON/s);
  });

  test("takes ollama's names, lists in quotes, and the values of the start again", async () => {
    const model = new FakeModel(echo);
    const input = [
      "/set parameter num_predict 4",
      "/set stop 'a b' \"c\\n\" d",
      "/set seed 5",
      "/set temp 0.2",
      "one",
      "/set parameter temperature default",
      "/set stop default",
      "/set seed -1",
      "/set num_predict -2",
      "two",
    ];
    const { err } = await talk(model, input.join("\n"), { quiet: true, generate: { temperature: 0.7, stop: ["x"] } });
    expect(err).toBe("");
    expect(model.session.options[0]).toMatchObject({ maxTokens: 4, seed: 5, temperature: 0.2 });
    expect(model.session.options[1]).toMatchObject({ maxTokens: -1, temperature: 0.7 });
    expect(model.session.options[1]?.seed).not.toBe(5);
  });

  test("ends answers at the texts that it is given", async () => {
    const { out } = await talk(new FakeModel(echo), "/set stop 'b c' x\na b c d\nxyz\n");
    expect(out).toBe("re: a \nre: \n");
  });

  test.each([
    ["/set temprature 1", "error: /set knows no temprature\nhint: did you mean temperature?"],
    ["/set top_k many", "error: /set top_k: expected an integer from 0 to 2147483647"],
    ["/set top_p 1.5", "error: /set top_p: expected a number from 0 to 1"],
    ["/set num_ctx 4096", "error: num_ctx cannot change during a chat\nhint: bitnet run -cnv -c N"],
    ["/set ignore_eos maybe", "error: /set ignore_eos: expected true or false, got maybe"],
    ["/set think", "error: the chat template of this model has no switch for thinking"],
    ["/set constructor 1", "error: /set knows no constructor"],
  ])("%s changes nothing", async (line, message) => {
    const model = new FakeModel(echo);
    const { err, out } = await talk(model, `${line}\none\n`, { quiet: true });
    expect(err).toContain(message);
    expect(out).toBe("re: one\n");
    expect(model.session.options[0]).toEqual(expect.not.objectContaining({ topK: expect.anything() }));
  });

  test("shows what is set", async () => {
    const input = "/set temperature 0.25\n/set temperature\n/set\n/show parameters\n";
    const { err } = await talk(new FakeModel(echo), input, { quiet: true });
    expect(err).toMatch(/^temperature 0\.25\n/);
    expect(err.match(/^temperature +0\.25$/gm)).toHaveLength(3);
    expect(err).toMatch(/^top_k +40$/m);
    expect(err).toMatch(/^seed +random$/m);
  });

  test("system takes a text with quotes around it or without", async () => {
    const input = '/set system "Say \\"hi\\"."\n/system\n/set system She said "no"\n/system\n/set system ""\n/system\n';
    const { err } = await talk(new FakeModel(echo), input, { quiet: true });
    expect(err).toBe('Say "hi".\nShe said "no"\n(no system prompt)\n');
  });

  test("system takes a block of lines", async () => {
    const { err } = await talk(new FakeModel(echo), '/set system """one\ntwo"""\n/system\n', { quiet: true });
    expect(err).toBe("one\ntwo\n");
  });

  test("verbose shows speeds after each answer, quiet does not", async () => {
    const { err } = await talk(new FakeModel(echo), "/set verbose\none\n/set quiet\ntwo\n", { quiet: true });
    expect(err.match(/^prefill:/gm)).toHaveLength(1);
  });

  test("think and nothink switch the thinking of a template that has the choice", async () => {
    const chatTemplate =
      "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}{% if enable_thinking %}think{% endif %}Assistant: ";
    const model = new FakeModel(() => "a<|eot_id|>", { chatTemplate });
    await talk(model, "/set think\none\n/clear\n/set nothink\ntwo\n");
    expect(model.session.prompts.map((prompt) => prompt.includes("think"))).toEqual([true, false]);
  });
});

describe("/show", () => {
  test("tells about the model and the chat", async () => {
    const model = new FakeModel(echo);
    Object.assign(model.info, { architecture: "bitnet", contextLength: 4096, fileSize: 1_500_000 });
    const input = "/show info\n/show model\n/show license\n/show template\n/show system\n";
    const { err } = await talk(model, input, { quiet: true, modelPath: tinyModel, systemPrompt: "S" });
    for (const line of [/^architecture +bitnet$/m, /^trained context +4096$/m, /^file +1\.50 MB$/m]) {
      expect(err).toMatch(line);
    }
    expect(err).toContain(tinyModel);
    expect(err).toContain("(the model file names no license)\n(the bitnet format)\nS\n");
  });

  test.each([
    ["/show", "/show license"],
    ["/show licence", "error: /show knows no licence\nhint: did you mean /show license?"],
    ["/show toString", "error: /show knows no toString"],
  ])("%s is answered with what there is", async (line, message) => {
    expect((await talk(new FakeModel(echo), `${line}\n`, { quiet: true })).err).toContain(message);
  });
});

describe("the name of a file", () => {
  test.each([
    ["in double quotes", '"a b.json"', "a b.json"],
    ["in single quotes", "'a b.json'", "a b.json"],
    ["with spaces as they are", "a b.json", "a b.json"],
    ["with backslashes before spaces", "a\\ b.json", "a b.json"],
    ["with quotes inside", '"a\\"b.json"', 'a"b.json'],
  ])("may be written %s", async (_, written, name) => {
    const home = await mkdtemp(join(folder, "home-"));
    vi.stubEnv("HOME", home);
    const place = written.replace("a", `${home}/a`);
    await talk(new FakeModel(echo), `one\n/save ${place}\n`);
    expect(JSON.parse(await readFile(join(home, name), "utf8")).messages).toHaveLength(2);
  });

  test("may begin with ~, the user's folder, unless it stands in quotes", async () => {
    const home = await mkdtemp(join(folder, "home-"));
    vi.stubEnv("HOME", home);
    const { err } = await talk(new FakeModel(echo), "one\n/save ~/x.json\n/load ~/x.json\n/load '~/x.json'\n", {
      quiet: true,
    });
    expect(JSON.parse(await readFile(join(home, "x.json"), "utf8")).messages).toHaveLength(2);
    expect(err).toBe("error: cannot load the chat from ~/x.json: no such file or directory\n");
  });
});

describe("Tab", () => {
  const start = async () => {
    const terminal = new TerminalTalk(new FakeModel(echo), { quiet: true }, { columns: 60, rows: 30 });
    await terminal.shows("> |");
    return terminal;
  };

  test.each([
    ["a command", "/he\t", "> /help |"],
    ["what all candidates begin with", "/set dyn\t", "> /set dynatemp_|"],
    ["a parameter", "/set parameter min\t", "> /set parameter min_p |"],
    ["a setting", "/set nohi\t", "> /set nohistory |"],
    ["a topic", "/show li\t", "> /show license |"],
    ["nothing in a message", "hello /he\t", "> hello /he|"],
    ["nothing that nobody knows", "/xyz\t\t", "> /xyz|"],
  ])("completes %s", async (_, typed, row) => {
    const terminal = await start();
    terminal.type(typed);
    await terminal.shows(row);
    terminal.type("\u0003\u0004");
    await terminal.end;
  });

  test("lists the candidates at the second time, and the message stays", async () => {
    const terminal = await start();
    terminal.type("/s\t\t");
    await terminal.shows("> /s", "/system  /set     /show    /save    /stats", "> /s|");
    terminal.type("\u0003\u0004");
    await terminal.end;
  });

  test("completes paths, with ~ and with a quote", async () => {
    const home = await mkdtemp(join(folder, "home-"));
    await mkdir(join(home, "my chats"));
    await writeFile(join(home, "my chats", "one.json"), "");
    await writeFile(join(home, ".hidden"), "");
    vi.stubEnv("HOME", home);
    const terminal = await start();
    for (const [typed, row] of [
      ["/load ~/\t", "> /load ~/my chats/|"],
      ["o\t", "> /load ~/my chats/one.json|"],
      ["\u0015/load ~/.\t", "> /load ~/.hidden|"],
      ["\u0015/load none/\t\t", "> /load none/|"],
    ] as const) {
      terminal.type(typed);
      await terminal.shows(row);
    }
    terminal.type("\u0003\u0004");
    await terminal.end;
  });
});
