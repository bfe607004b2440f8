// /v1/batches, and the files that they need.

import { join } from "node:path";
import { batchUrls } from "../../batch/request.js";
import { BitnetError } from "../../system/errors.js";
import { withLock } from "../../system/lock.js";
import { FileStore } from "../batch-files.js";
import { BatchJobs, type NewBatch } from "../batch-jobs.js";
import type { Register, ServerContext } from "../context.js";
import { ApiError, invalid } from "../errors.js";
import type { Fields } from "../fields.js";
import { bodyOf, nameIgnored } from "./exchange.js";
import { type ListQuery, owner, page, registerFiles } from "./files.js";

const mostListed = 100;
// A stale lock is found out at the second look.
const lockPatience = 3000; // ms

export const register: Register = async (app, context) => {
  const { batchFolder } = context.options;
  if (batchFolder === undefined) {
    for (const url of ["/v1/files", "/v1/files/*", "/v1/batches", "/v1/batches/*"]) {
      app.all(url, async () => {
        throw new ApiError("not_supported_error", "batches need a folder: bitnet serve --batch-dir DIR", {
          ...{ code: "not_supported", shouldRetry: false },
        });
      });
    }
    return;
  }
  await holdFolder(batchFolder, context);
  const files = new FileStore(join(batchFolder, "files"));
  const jobs = new BatchJobs(context, files, join(batchFolder, "batches"));
  context.onReady(({ admission }) => jobs.begin(admission.limits.parallel));
  context.onClose(() => jobs.close());
  await app.register((scope) => registerFiles(scope, files, jobs));
  app.post("/v1/batches", async (request, reply) => {
    const body = bodyOf(request);
    const batch = readNewBatch(body);
    nameIgnored(reply, body);
    return await jobs.create(owner(request), batch);
  });
  app.get<{ Querystring: ListQuery }>("/v1/batches", async (request) =>
    page(jobs.list(owner(request)), request.query, mostListed),
  );
  app.get<{ Params: { id: string } }>("/v1/batches/:id", async (request) =>
    jobs.get(owner(request), request.params.id),
  );
  app.post<{ Params: { id: string } }>("/v1/batches/:id/cancel", async (request) =>
    jobs.cancel(owner(request), request.params.id),
  );
};

/** Keeps other servers away from the folder until this one ends: each would run the same batches. */
async function holdFolder(folder: string, context: ServerContext): Promise<void> {
  const signal = AbortSignal.timeout(lockPatience);
  await new Promise<void>((resolve, reject) => {
    let release: () => void = () => {};
    const held = withLock(join(folder, "server.lock"), { signal }, () => {
      resolve();
      return new Promise<void>((leave) => {
        release = leave;
      });
    });
    held.catch((error: unknown) => {
      const inUse = new BitnetError("USAGE", `${folder} is in use by another server`, {
        hint: "give each server a --batch-dir of its own",
        cause: error,
      });
      reject(signal.aborted ? inUse : error);
    });
    context.onClose(async () => {
      release();
      await held.catch(() => {}); // told already
    });
  });
}

function readNewBatch(body: Fields): NewBatch {
  const inputFileId = body.text("input_file_id", { maxLength: 64 });
  const endpoint = body.choice("endpoint", batchUrls);
  if (inputFileId === undefined || endpoint === undefined) {
    throw invalid(inputFileId === undefined ? "input_file_id" : "endpoint", "expected a text, got nothing");
  }
  const window = body.text("completion_window", { maxLength: 16 }) ?? "24h";
  return { inputFileId, endpoint, window, windowSeconds: readWindow(window), metadata: readMetadata(body) };
}

const unitSeconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
const longestWindow = 30 * 86_400;

function readWindow(text: string): number {
  const [, count, unit = ""] = /^(\d{1,7})([smhd])$/.exec(text) ?? [];
  const seconds = Number(count) * (unitSeconds[unit] ?? Number.NaN);
  if (!(seconds > 0 && seconds <= longestWindow)) {
    throw invalid("completion_window", "expected a time like 24h, at most 30d");
  }
  return seconds;
}

function readMetadata(body: Fields): Record<string, string> | null {
  const metadata = body.plain("metadata");
  if (metadata === undefined) {
    return null;
  }
  const entries = Object.entries(metadata);
  const isGood = entries.every(([key, value]) => key.length <= 64 && typeof value === "string" && value.length <= 512);
  if (entries.length > 16 || !isGood) {
    throw invalid("metadata", "expected at most 16 texts of at most 512 characters, with names of at most 64");
  }
  return Object.fromEntries(entries) as Record<string, string>;
}
