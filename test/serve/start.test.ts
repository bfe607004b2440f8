// What may be wrong before a server answers anybody, and HTTPS.

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { get } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type StartOptions, startServer } from "../../src/serve/server.js";
import { cert, key } from "../support/certificate.js";
import { tinyModel } from "../support/fixtures.js";
import { startTestServer } from "../support/serve.js";

let folder: string;
let keyFile: string;
let certFile: string;
let other: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "bitnet-start-"));
  [keyFile, certFile, other] = [join(folder, "key.pem"), join(folder, "cert.pem"), join(folder, "other.txt")];
  writeFileSync(keyFile, key);
  writeFileSync(certFile, cert);
  writeFileSync(other, "not a key");
});

afterAll(() => rm(folder, { recursive: true }));

const start = (options: Partial<StartOptions>) => startServer({ modelPath: tinyModel, port: 0, ...options });

describe("HTTPS", () => {
  test("is spoken with a key and its certificate", async () => {
    await using server = await startTestServer({ tls: { keyFile, certFile } });
    expect(server.url).toMatch(/^https:/);
    const status = await new Promise((resolve, reject) => {
      get(`${server.url}/livez`, { ca: cert, servername: "localhost", agent: false }, (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      }).on("error", reject);
    });
    expect(status).toBe(200);
  });

  test.each([
    ["missing.pem", "cert.pem", /missing\.pem: the key of HTTPS cannot be read: no such file/],
    ["key.pem", "missing.pem", /missing\.pem: the certificate of HTTPS cannot be read: no such file/],
    ["other.txt", "cert.pem", /other\.txt: expected the key of HTTPS as PEM/],
    ["key.pem", "other.txt", /other\.txt: expected the certificate of HTTPS as PEM/],
  ])("with %s and %s says which file is wrong, and how", async (keyName, certName, message) => {
    const tls = { keyFile: join(folder, keyName), certFile: join(folder, certName) };
    await expect(start({ tls })).rejects.toMatchObject({ code: "USAGE", message: expect.stringMatching(message) });
  });
});

describe("a server that starts, or cannot", () => {
  test("says that the folder of slots is missing", async () => {
    const slotFolder = join(folder, "slots");
    await expect(start({ slotFolder })).rejects.toMatchObject({ code: "USAGE", message: /slots: expected a folder/ });
  });

  test("names the folder of a socket as what to look at", async () => {
    const hosts = [join(folder, "missing", "x.sock")];
    await expect(start({ hosts })).rejects.toMatchObject({ hint: expect.stringContaining("folder") });
  });

  test("listens nowhere: the addresses that it had are free again", async () => {
    const hosts = [join(folder, "a.sock"), join(folder, "missing", "b.sock")];
    await expect(start({ hosts })).rejects.toThrow("b.sock");
    const again = createServer();
    await new Promise<void>((resolve, reject) => again.on("error", reject).listen(hosts[0], resolve));
    await new Promise((resolve) => again.close(resolve));
  });

  test("takes the socket of one that was killed, not of one that listens, nor the place of a file", async () => {
    const path = join(folder, "left.sock");
    const program = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    spawnSync(process.execPath, ["-e", program]);
    expect(existsSync(path)).toBe(true);
    const server = await start({ hosts: [path] });
    await expect(start({ hosts: [path] })).rejects.toThrow("in use");
    await server.close();
    writeFileSync(path, "mine");
    await expect(start({ hosts: [path] })).rejects.toThrow("in use");
    expect(readFileSync(path, "utf8")).toBe("mine");
  });

  test("tells that it ended before its model was there", async () => {
    const server = await start({});
    const ready = server.ready.catch(({ code }) => code);
    await server.close();
    expect(await ready).toBe("ABORTED");
  });
});
