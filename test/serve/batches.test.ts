// /v1/files and /v1/batches: through OpenAI's client, over restarts, and against clients that mean no good.

import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { root, tinyModel } from "../support/fixtures.js";
import { startTestServer, type TestServer } from "../support/serve.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-batches-"));
let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startTestServer({ batchFolder: join(folder, "open") });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

const chatLine = (id: string, more: object = {}) => ({
  custom_id: id,
  method: "POST",
  url: "/v1/chat/completions",
  body: { messages: [{ role: "user", content: `Tell me about ${id}.` }], max_tokens: 4, ...more },
});

const jsonl = (lines: readonly object[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join("");

async function upload(to: OpenAI, text: string, name = "in.jsonl") {
  return await to.files.create({ file: await toFile(Buffer.from(text), name), purpose: "batch" });
}

async function createBatch(to: OpenAI, lines: readonly object[], window = "24h") {
  const file = await upload(to, jsonl(lines));
  return await to.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: window as "24h",
  });
}

const ended = ["completed", "failed", "expired", "cancelled"];

async function finished(to: OpenAI, id: string) {
  for (;;) {
    const batch = await to.batches.retrieve(id);
    if (ended.includes(batch.status)) {
      return batch;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function linesOf(to: OpenAI, fileId: string | null | undefined) {
  const text = await (await to.files.content(fileId ?? "")).text();
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

test("a batch is answered as the same requests are alone, and its failures are told apart", async () => {
  const lines = [chatLine("a"), chatLine("b", { temperature: 1, seed: 3 }), chatLine("c", { temperature: -1 })];
  const made = await createBatch(client, lines);
  expect(made).toMatchObject({ object: "batch", completion_window: "24h", errors: null });
  const batch = await finished(client, made.id);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: 3, completed: 2, failed: 1 } });
  const answers = await linesOf(client, batch.output_file_id);
  expect(answers.map(({ custom_id }) => custom_id).sort()).toEqual(["a", "b"]);
  for (const { custom_id, response } of answers) {
    const alone = await server.ask("/v1/chat/completions", lines.find((line) => line.custom_id === custom_id)?.body);
    expect(response.body.choices).toEqual(alone.choices);
  }
  const [failure] = await linesOf(client, batch.error_file_id);
  expect(failure).toMatchObject({ custom_id: "c", response: { status_code: 400 }, error: { code: "invalid_value" } });
  expect((await client.batches.list()).data.map(({ id }) => id)).toContain(batch.id);
  expect((await client.files.list({ purpose: "batch_output" })).data.map(({ id }) => id)).toContain(
    batch.output_file_id,
  );
});

test("lines that are wrong fail the batch, with their numbers", async () => {
  const made = await createBatch(client, [chatLine("a"), chatLine("a"), { ...chatLine("b"), url: "/v1/embeddings" }]);
  const batch = await finished(client, made.id);
  expect(batch.status).toBe("failed");
  expect(batch.errors?.data?.map(({ code, line }) => [code, line])).toEqual([
    ["duplicate_custom_id", 2],
    ["mismatched_endpoint", 3],
  ]);
  expect(batch.output_file_id).toBeNull();
});

test("a batch can be cancelled: what is answered by then is there", async () => {
  const lines = Array.from({ length: 200 }, (_, i) => chatLine(`r${i}`, { max_tokens: 60, ignore_eos: true }));
  const made = await createBatch(client, lines);
  expect(["cancelling", "cancelled"]).toContain((await client.batches.cancel(made.id)).status);
  const batch = await finished(client, made.id);
  expect(batch.status).toBe("cancelled");
  const { total = 0, completed = 0, failed = 0 } = batch.request_counts ?? {};
  expect(total).toBe(200);
  expect(completed + failed).toBe(200);
  const [left] = await linesOf(client, batch.error_file_id);
  expect(left).toMatchObject({ response: null, error: { code: "batch_cancelled" } });
  await expect(client.batches.cancel(made.id)).rejects.toMatchObject({ status: 409 });
});

test("a batch gives way to who waits for an answer, though its lines take every place and the queue holds none", async () => {
  await using busy = await startTestServer({ batchFolder: join(folder, "busy"), parallel: 1, queueSize: 0 });
  const { admission, model } = busy.server.context.service;
  const to = new OpenAI({ baseURL: `${busy.url}/v1`, apiKey: "none", maxRetries: 0 });
  const lines = Array.from({ length: 200 }, (_, i) => chatLine(`r${i}`, { max_tokens: 400, ignore_eos: true }));
  const made = await createBatch(to, lines);
  const { body } = chatLine("one who waits");
  const alone = await server.ask("/v1/chat/completions", body);
  while (model.stats().preemptions === 0) {
    expect((await to.batches.retrieve(made.id)).status).toMatch(/validating|in_progress/);
    while (admission.running === 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await busy.ask("/v1/chat/completions", body)).choices).toEqual(alone.choices);
  }
  await to.batches.cancel(made.id);
  expect((await finished(to, made.id)).request_counts?.total).toBe(200);
});

test("a batch ends with its window", async () => {
  const lines = Array.from({ length: 3000 }, (_, i) => chatLine(`r${i}`, { max_tokens: 100, ignore_eos: true }));
  const made = await createBatch(client, lines, "1s");
  const batch = await finished(client, made.id);
  expect(batch.status).toBe("expired");
  const errors = await linesOf(client, batch.error_file_id);
  expect(errors.at(-1)).toMatchObject({ error: { code: "batch_expired" } });
  expect(batch.request_counts).toMatchObject({ total: 3000, failed: errors.length });
});

test("files are described, read and deleted; names of clients are never paths", async () => {
  const file = await upload(client, "{}\n", "../../etc/pass\u0007wd");
  expect(file).toMatchObject({ object: "file", bytes: 3, filename: "passwd", purpose: "batch" });
  expect(await (await client.files.content(file.id)).text()).toBe("{}\n");
  for (const id of ["..%2f..%2fetc%2fpasswd", "%2e%2e", `${file.id}%00`, file.id.slice(0, -1), "file-x"]) {
    expect((await server.get(`/v1/files/${id}`)).status).toBe(404);
    expect((await server.get(`/v1/files/${id}/content`)).status).toBe(404);
    expect((await server.get(`/v1/batches/${id}`)).status).toBe(404);
  }
  expect(await client.files.delete(file.id)).toMatchObject({ deleted: true });
  await expect(client.files.retrieve(file.id)).rejects.toMatchObject({ status: 404 });
});

test.each([
  [{ endpoint: "/v1/chat/completions" }, "input_file_id"],
  [{ input_file_id: "file-x", endpoint: "/v1/files" }, "endpoint"],
  [{ input_file_id: "file-x", endpoint: "/v1/completions", completion_window: "1y" }, "completion_window"],
  [{ input_file_id: "file-x", endpoint: "/v1/completions", metadata: { a: 1 } }, "metadata"],
])("%j is refused", async (body, param) => {
  expect((await server.ask("/v1/batches", body)).error).toMatchObject({ type: "invalid_request_error", param });
});

test("forms that are wrong leave nothing", async () => {
  const before = readdirSync(join(folder, "open", "files")).length;
  const post = async (fields: Record<string, string | Blob>) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) {
      form.append(name, value);
    }
    return (await fetch(`${server.url}/v1/files`, { method: "POST", body: form })).status;
  };
  expect(await post({ purpose: "batch" })).toBe(400);
  expect(await post({ purpose: "fine-tune", file: new Blob(["x"]) })).toBe(400);
  expect(await post({ file: new Blob(["x"]) })).toBe(400);
  expect((await server.post("/v1/files", {})).status).toBe(415);
  expect(readdirSync(join(folder, "open", "files"))).toHaveLength(before);
});

/** The head of an upload and of its form, and what the server says until it closes the connection. */
function openUpload(to: TestServer) {
  const edge = "--edge\r\ncontent-disposition: form-data; name=";
  const socket = connect(Number(new URL(to.url).port), "127.0.0.1");
  socket.write("POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n");
  socket.write("content-type: multipart/form-data; boundary=edge\r\n\r\n");
  const write = (text: string) => socket.write(`${text.length.toString(16)}\r\n${text}\r\n`);
  write(`${edge}"purpose"\r\n\r\nbatch\r\n${edge}"file"; filename="slow.jsonl"\r\n\r\n`);
  const answer = new Promise<string>((resolve) => {
    let received = "";
    socket.on("data", (data) => {
      received += data;
    });
    socket.once("close", () => resolve(received));
  });
  const end = () => {
    write("\r\n--edge--\r\n");
    socket.write("0\r\n\r\n");
  };
  return { write, end, answer, isOpen: () => !socket.destroyed };
}

test("a file may come slowly as long as it comes; one that stops coming is given up, and nothing is left of it", async () => {
  const place = join(folder, "slow");
  await using patient = await startTestServer({ batchFolder: place });
  const sizes = () => readdirSync(join(place, "files")).map((name) => statSync(join(place, "files", name)).size);
  const arrived = async (at: { isOpen(): boolean }, bytes: number) => {
    while (at.isOpen() && !sizes().some((size) => size >= bytes)) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const [steady, stalled] = [openUpload(patient), openUpload(patient)];
    for (let i = 1; i <= 4; i++) {
      steady.write(`${"x".repeat(199_999)}\n`);
      await arrived(steady, i * 200_000 - 1000); // the form's end may be in the last bytes, which wait for more
      vi.advanceTimersByTime(29_000);
    }
    expect(await stalled.answer).toMatch(/^HTTP\/1\.1 408 /);
    steady.end();
    expect(await steady.answer).toMatch(/^HTTP\/1\.1 200 .*"bytes":800000,/s);
  } finally {
    vi.useRealTimers();
  }
  await expect.poll(sizes).toHaveLength(2); // the file and its description
});

test("what a killed server has left of uploads goes when the next one starts", async () => {
  const place = join(folder, "left");
  const files = join(place, "files");
  const described = await (async () => {
    await using first = await startTestServer({ batchFolder: place });
    return await upload(new OpenAI({ baseURL: `${first.url}/v1`, apiKey: "none" }), "{}\n");
  })();
  writeFileSync(join(files, `file-${"0".repeat(32)}.jsonl`), "half of");
  await using _second = await startTestServer({ batchFolder: place });
  expect(readdirSync(files).sort()).toEqual([`${described.id}.json`, `${described.id}.jsonl`]);
});

test("each key has files and batches of its own", async () => {
  await using guarded = await startTestServer({ batchFolder: join(folder, "keys"), apiKeys: ["one", "two"] });
  const [one, two] = ["one", "two"].map(
    (apiKey) => new OpenAI({ baseURL: `${guarded.url}/v1`, apiKey, maxRetries: 0 }),
  );
  if (one === undefined || two === undefined) {
    throw new Error("two clients");
  }
  const made = await createBatch(one, [chatLine("a")]);
  const batch = await finished(one, made.id);
  expect(batch.request_counts?.completed).toBe(1);
  expect((await two.files.list()).data).toEqual([]);
  expect((await two.batches.list()).data).toEqual([]);
  await expect(two.batches.retrieve(batch.id)).rejects.toMatchObject({ status: 404 });
  await expect(two.files.content(batch.output_file_id ?? "")).rejects.toMatchObject({ status: 404 });
  const begged = { input_file_id: batch.input_file_id, endpoint: "/v1/chat/completions", completion_window: "24h" };
  await expect(two.batches.create(begged as never)).rejects.toMatchObject({ status: 404 });
});

test("without a folder the answer says what to do", async () => {
  await using bare = await startTestServer();
  const response = await bare.get("/v1/batches");
  expect(response.status).toBe(501);
  expect(await response.text()).toContain("--batch-dir");
});

/** bitnet serve in a process of its own, once it is ready. */
async function startProcess(batchFolder: string) {
  const child = spawn(process.execPath, [
    ...[join(root, "bin", "bitnet.js"), "serve", "-m", tinyModel, "--port", "0", "--json", "--quiet", "--no-ui"],
    ...["--temp", "0", "-np", "2", "--batch-dir", batchFolder],
  ]);
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout.once("data", (data: Buffer) => resolve(data.toString()));
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return { child, client: new OpenAI({ baseURL: `${JSON.parse(line).urls[0]}/v1`, apiKey: "none", maxRetries: 0 }) };
}

test("a server that is killed goes on with its batches when it is started again: every line once", async () => {
  const place = join(folder, "killed");
  const first = await startProcess(place);
  const lines = Array.from({ length: 60 }, (_, i) => chatLine(`r${i}`, { max_tokens: 30, ignore_eos: true }));
  const made = await createBatch(first.client, lines);
  while ((await first.client.batches.retrieve(made.id)).request_counts?.completed === 0) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const gone = new Promise((resolve) => first.child.once("exit", resolve));
  first.child.kill("SIGKILL");
  await gone;
  const second = await startProcess(place);
  try {
    const batch = await finished(second.client, made.id);
    expect(batch).toMatchObject({ status: "completed", request_counts: { total: 60, completed: 60, failed: 0 } });
    const answers = await linesOf(second.client, batch.output_file_id);
    expect(answers.map(({ custom_id }) => custom_id).sort()).toEqual(lines.map(({ custom_id }) => custom_id).sort());
    for (const { custom_id, response } of answers) {
      const body = lines.find((line) => line.custom_id === custom_id)?.body;
      const alone = await server.ask("/v1/chat/completions", body);
      expect(response.body.choices[0].message).toEqual(alone.choices[0].message);
    }
  } finally {
    second.child.kill("SIGKILL");
  }
});

test("a folder of batches belongs to one server", async () => {
  const folder = mkdtempSync(join(tmpdir(), "bitnet-batches-"));
  try {
    await using first = await startTestServer({ batchFolder: folder });
    await expect(startTestServer({ batchFolder: folder })).rejects.toThrow(/is in use by another server/);
    expect((await first.get("/v1/batches")).status).toBe(200);
    await first.server.close();
    await using second = await startTestServer({ batchFolder: folder });
    expect((await second.get("/v1/batches")).status).toBe(200);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
