// Ctrl-C at a server that answers: the first lets requests end, the second does not.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, expect, test } from "vitest";
import { root } from "../support/fixtures.js";

let child: ChildProcess | undefined;
afterEach(() => {
  child?.kill("SIGKILL");
});

async function start() {
  const options = ["serve", "--port", "0", "--json", "-np", "1", "-n", "-1"];
  const server = spawn(process.execPath, [join(root, "bin", "bitnet.js"), ...options], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  child = server;
  let stderr = "";
  server.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const ended = once(server, "close").then(([status]) => status as number | null);
  const [line] = (await once(createInterface(server.stdout), "line")) as [string];
  const [url] = JSON.parse(line).urls as string[];
  const ask = async (max_tokens: number) => {
    const body = { messages: [{ role: "user", content: "Hi" }], max_tokens, ignore_eos: true, stream: true };
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify(body) });
    return response.body?.pipeThrough(new TextDecoderStream()).getReader() as ReadableStreamDefaultReader<string>;
  };
  return { server, ended, ask, stderr: () => stderr };
}

async function readAll(reader: ReadableStreamDefaultReader<string>): Promise<string> {
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) {
      return text;
    }
    text += value;
  }
}

test("once: the answer that runs is given to its end, and the server ends with 0", async () => {
  const { server, ended, ask, stderr } = await start();
  const reader = await ask(1500);
  await reader.read(); // it runs
  server.kill("SIGINT");
  expect(await readAll(reader)).toMatch(/data: \[DONE\]\n\n$/);
  expect(await ended).toBe(0);
  expect(stderr()).toMatch(/shutting down: running requests end first/);
});

test("twice: it ends at once, whatever runs and waits", async () => {
  const { server, ended, ask, stderr } = await start();
  const running = await ask(1500);
  await running.read();
  const waiting = Array.from({ length: 40 }, () => ask(1500).then(readAll)); // minutes of work
  const failures = Promise.allSettled([readAll(running), ...waiting]);
  server.kill("SIGINT");
  await expect.poll(stderr, { timeout: 20_000 }).toMatch(/shutting down/);
  server.kill("SIGINT");
  expect(await ended).toBe(130);
  const isCut = ({ status }: PromiseSettledResult<string>) => status === "rejected";
  expect((await failures).some(isCut)).toBe(true);
});
