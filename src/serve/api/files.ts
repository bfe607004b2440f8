// /v1/files: what batches read and write.

import type { FastifyInstance, FastifyRequest } from "fastify";
import { type FileStore, mostFileBytes, ownerOf, type StoredFile } from "../batch-files.js";
import type { BatchJobs } from "../batch-jobs.js";
import { expectFile } from "../body-time.js";
import { ApiError, invalid } from "../errors.js";
import { clientOf } from "./exchange.js";

const mostListed = 10_000;

export interface ListQuery {
  limit?: string;
  after?: string;
  order?: string;
  purpose?: string;
}

export async function registerFiles(app: FastifyInstance, store: FileStore, jobs: BatchJobs): Promise<void> {
  const { default: multipart } = await import("@fastify/multipart");
  await app.register(multipart, {
    throwFileSizeLimit: false,
    limits: {
      fileSize: mostFileBytes,
      files: 1,
      fields: 8,
      fieldSize: 256,
      fieldNameSize: 64,
      parts: 9,
      headerPairs: 32,
    },
  });
  app.post("/v1/files", async (request) => await readUpload(request, store));
  app.get<{ Querystring: ListQuery }>("/v1/files", async (request) => {
    const { purpose } = request.query;
    const files = store.list(owner(request)).filter((file) => purpose === undefined || file.purpose === purpose);
    return page(request.query.order === "asc" ? files : files.reverse(), request.query, mostListed);
  });
  app.get<{ Params: { id: string } }>("/v1/files/:id", async (request) => store.get(owner(request), request.params.id));
  app.get<{ Params: { id: string } }>("/v1/files/:id/content", async (request, reply) => {
    const content = store.read(owner(request), request.params.id);
    return reply.type("application/octet-stream").send(content);
  });
  app.delete<{ Params: { id: string } }>("/v1/files/:id", async (request) => {
    const { id } = store.get(owner(request), request.params.id);
    if (jobs.isInUse(id)) {
      throw new ApiError("invalid_request_error", "a batch that has not ended reads this file", {
        ...{ status: 409, code: "file_in_use", shouldRetry: false },
      });
    }
    await store.delete(owner(request), id);
    return { id, object: "file", deleted: true };
  });
}

export function owner(request: FastifyRequest): string {
  return ownerOf(clientOf(request));
}

/** The form may have its fields before or after the file. */
async function readUpload(request: FastifyRequest, store: FileStore): Promise<StoredFile> {
  if (!request.isMultipart()) {
    throw new ApiError("invalid_request_error", "expected a multipart form with purpose and file", {
      ...{ status: 415, code: "unsupported_media_type", shouldRetry: false },
    });
  }
  expectFile(request.raw);
  let purpose: unknown;
  let file: StoredFile | undefined;
  try {
    for await (const part of request.parts()) {
      if (part.type === "field") {
        purpose = part.fieldname === "purpose" ? part.value : purpose;
      } else if (part.fieldname === "file" && file === undefined) {
        file = await store.upload(owner(request), part.file, part.filename);
      } else {
        part.file.resume();
      }
    }
    if (file === undefined) {
      throw invalid("file", "expected a file in the form, got none");
    }
    if (purpose !== "batch") {
      throw invalid("purpose", 'expected "batch"');
    }
    return file;
  } catch (error) {
    if (file !== undefined) {
      await store.delete(owner(request), file.id);
    }
    throw error;
  }
}

/** A part of a list, as OpenAI's interface pages. */
export function page<T extends { id: string }>(all: readonly T[], { limit, after }: ListQuery, most: number): object {
  const count = limit === undefined ? Math.min(most, 20 + most / 2) : Number(limit);
  if (!Number.isInteger(count) || count < 1 || count > most) {
    throw invalid("limit", `expected an integer from 1 to ${most}`);
  }
  const from = after === undefined ? 0 : all.findIndex(({ id }) => id === after) + 1;
  if (after !== undefined && from === 0) {
    throw invalid("after", "there is no such entry");
  }
  const data = all.slice(from, from + count);
  return {
    object: "list",
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: from + count < all.length,
  };
}
