// The first pass over a batch: everything that is wrong with its lines, before any is answered.

import { createHash } from "node:crypto";
import { countOf } from "../system/counts.js";
import { BitnetError, throwIfAborted } from "../system/errors.js";
import { readFileLines } from "../system/line-file.js";
import { HashTable } from "./hash-table.js";
import {
  type BatchRequest,
  hashOfId,
  hashOfText,
  isEmptyLine,
  isFault,
  type LineFault,
  type LineForm,
  mostLineBytes,
  readRequest,
} from "./request.js";

/** Faults that are told one by one. */
const mostFaults = 100;

/** The lines of a batch are not what they should be. */
export class BatchFaultsError extends BitnetError {
  readonly faults: readonly LineFault[];
  readonly faultCount: number;

  constructor(input: string, faults: readonly LineFault[], faultCount: number) {
    const count = countOf(faultCount, "fault");
    super("USAGE", `${input}: ${count}; nothing was answered`);
    this.name = "BatchFaultsError";
    this.faults = faults;
    this.faultCount = faultCount;
  }
}

/** A part of a batch: every line whose number, counted from 0, is `index` modulo `count`. */
export interface Shard {
  index: number;
  count: number;
}

export interface CheckedBatch {
  /** Lines of the shard. */
  total: number;
  /** Of all of them: what tells this batch from others. */
  digest: string;
}

export interface BatchSource {
  path: string;
  form: LineForm;
  shard?: Shard;
}

interface ReadLine {
  /** In the file, from 1 on. */
  number: number;
  read: BatchRequest | LineFault;
}

/** The lines of a batch, or of the shard, with what is wrong in the place of requests. */
async function* readSource({ path, form, shard }: BatchSource): AsyncGenerator<ReadLine> {
  let index = 0;
  for await (const line of readFileLines(path, mostLineBytes)) {
    if (isEmptyLine(line)) {
      continue;
    }
    if (shard === undefined || index % shard.count === shard.index) {
      yield { number: line.number, read: readRequest(line, index, form) };
    }
    index++;
  }
}

/** The requests of a batch that has been checked. */
export async function* readRequests(source: BatchSource): AsyncGenerator<BatchRequest> {
  for await (const { read } of readSource(source)) {
    if (isFault(read)) {
      throw new BatchFaultsError(source.path, [read], 1); // it has changed meanwhile
    }
    yield read;
  }
}

/** Throws BatchFaultsError with all that is wrong. `onRequest` sees every line. */
export async function checkBatch(
  source: BatchSource,
  onRequest: (request: BatchRequest) => void = () => {},
  signal?: AbortSignal,
): Promise<CheckedBatch> {
  const faults: LineFault[] = [];
  let faultCount = 0;
  const tell = (fault: LineFault) => {
    faultCount++;
    if (faults.length < mostFaults) {
      faults.push(fault);
    }
  };
  const digest = createHash("sha256");
  const known = new HashTable(Uint32Array);
  let total = 0;
  for await (const { number, read } of readSource(source)) {
    throwIfAborted(signal);
    total++;
    if (isFault(read)) {
      tell(read);
      continue;
    }
    const hash = hashOfText(read.customId);
    const earlier = known.get(hash);
    if (earlier !== undefined) {
      const message = `${JSON.stringify(read.customId.slice(0, 60))} is that of line ${earlier}, too`;
      tell({ line: number, code: "duplicate_custom_id", message, param: "custom_id" });
      continue;
    }
    known.set(hash, number);
    digest.update(hashOfId(read.id));
    onRequest(read);
  }
  if (total === 0 && source.shard === undefined) {
    tell({ line: 0, code: "empty_file", message: "there is no request in the file" });
  }
  if (faultCount > 0) {
    throw new BatchFaultsError(source.path, faults, faultCount);
  }
  return { total, digest: digest.digest("hex") };
}
