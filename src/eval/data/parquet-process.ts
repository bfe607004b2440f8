// The process that reads one Parquet file, row group by row group, and sends its rows. See parquet.ts.
//
// The heap of JavaScript has a limit of its own; what lies outside of it is counted here, before it is allocated: pages
// as they say they are, and what compressed ones are when they are not.

import { once } from "node:events";
import { open } from "node:fs/promises";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import {
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
} from "hyparquet";
import { parquetHeader } from "hyparquet/src/column.js";
import { decompressLz4, decompressLz4Raw, decompressZstd } from "hyparquet-compressors";
import { maxColumns } from "./limits.js";
import type { ParquetMessage } from "./parquet.js";
import type { Doc } from "./types.js";

const maxPageBytes = 2 ** 28; // unpacked; usual ones have 1 MiB
const maxGroupBytes = 2 ** 30; // of a row group, unpacked
const maxPageValues = 2 ** 22;
const maxFooterBytes = 2 ** 26;
const batchRows = 1000;

const compressors: Compressors = {
  GZIP: (input, length) => gunzipSync(input, { maxOutputLength: length + 1 }),
  BROTLI: (input, length) => brotliDecompressSync(input, { maxOutputLength: length + 1 }),
  ZSTD: (input, length) => decompressZstd(input, new Uint8Array(length)),
  LZ4: (input, length) => (length === 0 ? new Uint8Array() : decompressLz4(input, length)), // it knows no empty block
  LZ4_RAW: (input, length) => (length === 0 ? new Uint8Array() : decompressLz4Raw(input, length)),
};

async function openBuffer(path: string): Promise<AsyncBuffer> {
  const file = await open(path, "r");
  const { size } = await file.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      if (!(start >= 0 && start <= end && end <= size)) {
        throw new Error(`bytes ${start} to ${end} of ${size} are asked for`);
      }
      const bytes = Buffer.from(new ArrayBuffer(end - start));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, start);
      if (bytesRead !== bytes.length) {
        throw new Error("it became shorter");
      }
      return bytes.buffer;
    },
  };
}

type RowGroup = FileMetaData["row_groups"][number];

/** Throws for a row group that says it is larger than any that is useful. Its pages say it again, each for itself. */
async function checkGroup(file: AsyncBuffer, { columns }: RowGroup): Promise<void> {
  let unpacked = 0;
  for (const { meta_data: meta } of columns) {
    if (meta === undefined) {
      throw new Error("a column without a description");
    }
    const start = Number(meta.dictionary_page_offset || meta.data_page_offset);
    const bytes = await file.slice(start, start + Number(meta.total_compressed_size));
    const reader = { view: new DataView(bytes), offset: 0 };
    while (reader.offset < bytes.byteLength - 1) {
      const header = parquetHeader(reader);
      const { num_values: values = 0 } =
        header.data_page_header ?? header.data_page_header_v2 ?? header.dictionary_page_header ?? {};
      unpacked += header.uncompressed_page_size;
      requireWithin("a page", header.uncompressed_page_size, maxPageBytes, "bytes");
      requireWithin("a page", values, maxPageValues, "values");
      requireWithin("a row group", unpacked, maxGroupBytes, "bytes");
      requireWithin("a compressed page", header.compressed_page_size, bytes.byteLength - reader.offset, "bytes");
      reader.offset += header.compressed_page_size;
    }
  }
}

function requireWithin(what: string, count: number, most: number, unit: string): void {
  if (!(Number.isInteger(count) && count >= 0 && count <= most)) {
    throw new Error(`${what} has ${count} ${unit}, where at most ${most} are expected`);
  }
}

/** Values as JSON has them. Whole numbers beyond 2^53 become text, binary values undefined. */
function plainValue(value: unknown): unknown {
  if (typeof value === "bigint") {
    return BigInt.asIntN(54, value) === value ? Number(value) : String(value);
  }
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? null : value.toISOString();
  }
  if (ArrayBuffer.isView(value)) {
    return value instanceof Uint8Array || value instanceof DataView ? undefined : Array.from(value as Float64Array);
  }
  if (Array.isArray(value)) {
    return value.map(plainValue);
  }
  return typeof value === "object" && value !== null ? plainRecord(value) : value;
}

function plainRecord(row: object): Doc {
  const entries = Object.entries(row).map(([name, value]) => [name, plainValue(value)] as const);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** Characters of the texts in a value, and some for each other value. */
function sizeOfValue(value: unknown): number {
  if (typeof value === "string") {
    return value.length;
  }
  const parts = typeof value === "object" && value !== null ? Object.values(value) : [];
  return parts.reduce((sum: number, part) => sum + sizeOfValue(part), 8);
}

async function send(message: ParquetMessage): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.send?.(message, (error: Error | null) => (error === null ? resolve() : reject(error)));
  });
}

async function sendRows(path: string): Promise<void> {
  const file = await openBuffer(path);
  requireWithin("its description", await footerBytes(file), maxFooterBytes, "bytes");
  const metadata = await parquetMetadataAsync(file);
  requireWithin("it", metadata.schema.length, maxColumns, "columns");
  let rowStart = 0;
  for (const group of metadata.row_groups) {
    await checkGroup(file, group);
    const rowEnd = rowStart + Number(group.num_rows);
    const rows = await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors });
    requireWithin("a row group", rows.length, Number(group.num_rows), "rows");
    for (let at = 0; at < rows.length; at += batchRows) {
      const batch = rows.slice(at, at + batchRows).map(plainRecord);
      const more = once(process, "message");
      await send({ kind: "rows", rows: batch, bytes: sizeOfValue(batch) });
      await more;
    }
    rowStart = rowEnd;
  }
}

async function footerBytes(file: AsyncBuffer): Promise<number> {
  const end = await file.slice(Math.max(0, file.byteLength - 8));
  return end.byteLength < 8 ? 0 : new DataView(end).getUint32(0, true);
}

async function main(path: string): Promise<void> {
  try {
    await sendRows(path);
    await send({ kind: "end" });
  } catch (error) {
    await send({ kind: "error", message: error instanceof Error ? error.message : String(error) });
  } // whoever asked ends the process when it has read that
}

process.once("disconnect", () => process.exit()); // whoever asked is gone
await main(process.argv[2] ?? "");
