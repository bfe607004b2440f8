// Streams: errors after their beginning, comments while nothing happens, readers that do not read.

import { connect } from "node:net";
import { expect, test } from "vitest";
import type { Stage } from "../../src/serve/request.js";
import { startTestServer } from "../support/serve.js";

const path = "/v1/chat/completions";
const messages = [{ role: "user", content: "Hello" }];

test("a failure after the first text is an event of its own, and the stream ends as ever", async () => {
  await using server = await startTestServer();
  const breaking: Stage = async function* (request, _, next) {
    for await (const event of next(request)) {
      yield event;
      if (event.kind === "delta") {
        throw new Error("of the test: /secret/path");
      }
    }
  };
  server.server.context.stages.push(breaking);
  const response = await server.post(path, { messages, stream: true });
  const text = await response.text();
  expect(response.status).toBe(200);
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  const events = text.split("\n\n").filter((event) => event.startsWith("data: {"));
  expect(JSON.parse(events.at(-1)?.slice("data: ".length) ?? "")).toMatchObject({
    error: { type: "server_error", code: "internal_error" },
  });
  expect(text).not.toContain("secret");
  expect(server.log.some(({ level }) => level === "error")).toBe(true);
});

test("a failure before the first event has a status of its own", async () => {
  await using server = await startTestServer();
  const response = await server.post(path, { messages, stream: true, temperature: 1000 });
  expect(response.status).toBe(400);
  expect(response.headers.get("content-type")).toContain("application/json");
});

test("a silent stream has comments, which are no events", async () => {
  await using server = await startTestServer({ pingInterval: 0.01 });
  let release: () => void = () => {};
  const pinged = new Promise<void>((resolve) => {
    release = resolve;
  });
  const waiting: Stage = async function* (request, _, next) {
    for await (const event of next(request)) {
      yield event;
      if (event.kind === "delta") {
        await pinged;
      }
    }
  };
  server.server.context.stages.push(waiting);
  const response = await server.post(path, { messages, stream: true });
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString("utf8");
    if (text.includes(": ping\n\n")) {
      release();
    }
  }
  expect(text).toContain(": ping\n\n");
  expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
});

test("a reader that takes nothing is given up, and its work ends", { timeout: 60_000 }, async () => {
  await using server = await startTestServer({ parallel: 8 });
  const { context } = server.server;
  const dropped = new Promise<void>((resolve) => context.onDrop(resolve));
  const { port } = new URL(server.url);
  const body = JSON.stringify({
    ...{ messages, stream: true, n: 8, max_tokens: 490, ignore_eos: true, temperature: 1 },
    ...{ logprobs: true, top_logprobs: 20, timings_per_token: true },
  });
  const head = [`POST ${path} HTTP/1.1`, `host: 127.0.0.1:${port}`, "content-type: application/json"];
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => {});
  socket.pause();
  // Several of these: the system keeps some megabytes for a reader before anything piles up here.
  const sockets = [socket, ...[1, 2].map(() => connect(Number(port), "127.0.0.1").on("error", () => {}))];
  for (const each of sockets) {
    each.pause();
    each.write(`${[...head, `content-length: ${Buffer.byteLength(body)}`].join("\r\n")}\r\n\r\n${body}`);
  }
  await dropped;
  for (const each of sockets) {
    each.destroy();
  }
  for (let tries = 0; context.service.admission.running > 0; tries++) {
    expect(tries).toBeLessThan(100_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const answer = await server.ask(path, { messages });
  expect(answer.choices[0].message.content).not.toBe("");
});
