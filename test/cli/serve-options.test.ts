// The options of bitnet serve: llama-server's names for them and for their variables, what wins, what is refused.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { rewriteArguments } from "../../src/cli/argv.js";
import { ProgramCommand } from "../../src/cli/command.js";
import { useLlamaVariables } from "../../src/cli/llama-variables.js";
import { addOptions, refuseOptions } from "../../src/cli/option-rows.js";
import { generalGroup } from "../../src/cli/options.js";
import { readServe, serveGroups, serveRefusals } from "../../src/cli/serve-options.js";
import { applySettings } from "../../src/cli/settings.js";
import { runBitnet } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-serve-options-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What a command line and variables mean for the server, and which model they name. */
async function read(args: string[], env: Record<string, string> = {}) {
  const command = new ProgramCommand("serve");
  const program = new ProgramCommand("bitnet").exitOverride().addCommand(command);
  const values = addOptions(command, serveGroups());
  addOptions(command, { general: generalGroup });
  refuseOptions(command, serveRefusals);
  useLlamaVariables(command);
  command.exitOverride().configureOutput({ writeErr: () => {} });
  command.action(() => applySettings(command, async () => program, { XDG_CONFIG_HOME: folder, ...env }));
  const { args: rewritten, unknown } = rewriteArguments(command, args);
  expect(unknown).toBeUndefined();
  await program.parseAsync(["serve", ...rewritten], { from: "user" });
  const { path, hubModel, hubFile } = values().model;
  return { ...readServe(values(), path ?? ""), path, hubModel, hubFile };
}

describe("variables of llama-server", () => {
  test.each([
    ["N_PARALLEL", "3", { parallel: 3 }],
    ["CTX_SIZE", "512", { contextSize: 512 }],
    ["N_PREDICT", "7", { maxPredict: 7 }],
    ["BATCH", "2048", { stepRows: 256 }],
    ["BATCH_SIZE", "64", { stepRows: 64 }],
    ["THREADS", "2", { load: { threads: 2 } }],
    ["MODEL", "m.gguf", { path: "m.gguf" }],
    ["HF_REPO", "owner/name", { hubModel: "owner/name" }],
    ["HF_FILE", "a.gguf", { hubFile: "a.gguf" }],
    ["HOST", "127.0.0.1,::1", { hosts: ["127.0.0.1", "::1"] }],
    ["PORT", "9000", { port: 9000 }],
    ["STATIC_PATH", "pages", { staticFolder: "pages" }],
    ["API_PREFIX", "/llm", { apiPrefix: "/llm" }],
    ["API_KEY", "a,b", { apiKeys: ["a", "b"] }],
    ["API_KEY_FILE", "keys", { apiKeyFile: "keys" }],
    ["CORS_ORIGINS", "https://a.example", { corsOrigins: ["https://a.example"] }],
    ["ALIAS", "x,y", { aliases: ["x", "y"] }],
    ["TIMEOUT", "9", { requestTimeout: 9 }],
    ["SSE_PING_INTERVAL", "-1", { pingInterval: 0 }],
    ["CACHE_RAM", "1", { promptCacheBytes: 2 ** 20 }],
    ["CACHE_TYPE_K", "q8_0", { cacheType: "q8" }],
    ["THINK", "none", { reasoningFormat: "none" }],
    ["THINK", "deepseek", { reasoningFormat: "auto" }],
    ["TEMPERATURE", "0.25", { sampling: { temperature: 0.25 } }],
    ["TOP_K", "5", { sampling: { topK: 5 } }],
    ["CONTEXT_SHIFT", "1", { contextShift: true }],
    ["NO_CONTEXT_SHIFT", "1", { contextShift: false }],
    ["NO_UI", "1", { ui: false }],
    ["WEBUI", "0", { ui: false }],
    ["NO_WEBUI", "true", { ui: false }],
    ["UI", "on", { ui: true }],
    ["ENDPOINT_SLOTS", "0", { slots: false }],
    ["NO_ENDPOINT_SLOTS", "1", { slots: false }],
    ["SLOT_SAVE_PATH", "slots", { slotFolder: "slots" }],
    ["CHAT_TEMPLATE_FILE", "t.jinja", { chatTemplate: "t.jinja" }],
    ["LOG_FILE", "x.log", { logFile: "x.log" }],
  ])("LLAMA_ARG_%s=%s, and as BITNET_ARG_", async (name, value, expected) => {
    expect(await read([], { [`LLAMA_ARG_${name}`]: value })).toMatchObject(expected);
    expect(await read([], { [`BITNET_ARG_${name}`]: value })).toMatchObject(expected);
  });

  test("those without a prefix", async () => {
    expect(await read([], { LLAMA_API_KEY: "k" })).toMatchObject({ apiKeys: ["k"] });
  });

  test("what is typed wins, then our own names, then these, then a file", async () => {
    const config = join(folder, "serve.json");
    writeFileSync(config, JSON.stringify({ serve: { parallel: 1 } }));
    const file = ["--config", config];
    const llama = { LLAMA_ARG_N_PARALLEL: "2" };
    const arg = { ...llama, BITNET_ARG_N_PARALLEL: "3" };
    const own = { ...arg, BITNET_PARALLEL: "4" };
    expect(await read(file)).toMatchObject({ parallel: 1 });
    expect(await read(file, llama)).toMatchObject({ parallel: 2 });
    expect(await read(file, arg)).toMatchObject({ parallel: 3 });
    expect(await read(file, own)).toMatchObject({ parallel: 4 });
    expect(await read([...file, "-np", "5"], own)).toMatchObject({ parallel: 5 });
  });

  test("what they ask for in vain has no effect, or is refused where answers would be others", async () => {
    expect(await read([], { LLAMA_ARG_N_GPU_LAYERS: "99", LLAMA_ARG_EMBEDDINGS: "0" })).toMatchObject({
      parallel: undefined,
    });
    expect(await read([], { LLAMA_ARG_EMBEDDINGS: "1", LLAMA_ARG_POOLING: "last" })).toMatchObject({
      ...{ embeddings: true, pooling: "last" },
    });
    await expect(read([], { LLAMA_ARG_RERANKING: "1" })).rejects.toMatchObject({
      message: "LLAMA_ARG_RERANKING: there is no such option here",
      hint: expect.stringContaining("ranked"),
    });
    await expect(read([], { LLAMA_ARG_N_PARALLEL: "many" })).rejects.toThrow(
      /^LLAMA_ARG_N_PARALLEL: "many" is invalid for '--parallel <n>'/,
    );
  });
});

describe("the command line", () => {
  test("of run_inference_server.py is taken as it is", async () => {
    const args = "-m m.gguf -c 2048 -t 2 -n 4096 -ngl 0 --temp 0.8 --host 127.0.0.1 --port 8080 -cb -p Hello";
    expect(await read(args.split(" "))).toMatchObject({
      ...{ path: "m.gguf", contextSize: 2048, load: { threads: 2 }, maxPredict: 4096, sampling: { temperature: 0.8 } },
      ...{ hosts: ["127.0.0.1"], port: 8080, systemPrompt: "Hello" },
    });
  });

  test("of llama-server, too, with its defaults written out", async () => {
    const args =
      "-b 2048 -ub 512 --sse-ping-interval -1 --reasoning-format deepseek --ui --no-mmproj -sps 0.5 -fitt 1024 -lm mmap " +
      "--no-log-prefix -no-kvu --cors-headers * -ctxcp 32 --no-prefill-assistant -bs --webui " +
      "--sleep-idle-seconds -1";
    expect(await read(args.split(" "))).toMatchObject({
      stepRows: 256,
      pingInterval: 0,
      reasoningFormat: "auto",
      ui: true,
    });
  });

  test.each([
    [["-m", "a", "-m", "b"], /'-m, --model <model>' argument 'b' is invalid: a server has one model/],
    [["-m", "a", "-hf", "o/n"], /expected one of -m, -hf and an argument/],
    [["--hf-file", "x"], /--hf-file needs -hf/],
    [["--sleep-idle-seconds", "0"], /'--sleep-idle-seconds <s>' argument '0' is invalid/],
    [["--pooling", "rank"], /'--pooling <type>' argument 'rank' is invalid: expected one of none, mean, cls, last/],
    [["--reranking"], /there is no --reranking here.*\n.*documents cannot be ranked/],
    [["--lora-scaled", "x"], /'--lora-scaled <path>' argument 'x' is invalid. Expected PATH SCALE/i],
    [["--lora-modules", "x"], /'--lora-modules <names>' argument 'x' is invalid. Expected NAME=PATH/i],
    [["--json-schema", "{}"], /there is no --json-schema here.*\n.*requests have grammar/],
    [["--models-dir", "x"], /there is no --models-dir here.*\n.*one model/],
  ])("%j is refused in one line, with what to do", async (args, message) => {
    const { status, stderr } = await runBitnet(["serve", ...args]);
    expect(stderr).toMatch(message);
    expect(status).toBe(2);
  });
});
