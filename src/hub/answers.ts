// Which bytes of a file an answer holds. Servers and what stands in front of them send whole files where a part was
// asked for, other parts, pages, and compressed contents; what fits is used, the rest is asked for again.

import { describeFailure } from "./failures.js";
import { TransientError } from "./retry.js";

/** An answer that is of no use for the bytes that are missing. */
export class MisfitError extends TransientError {}

/** A part of a file; `end` is behind its last byte. */
export interface Span {
  start: number;
  end: number;
}

export interface ExpectedFile {
  path: string;
  size: number;
}

/** Bytes of the file that the body of `response` holds, `position` among them. Throws MisfitError. */
export function locateBody(response: Response, position: number, { path, size }: ExpectedFile): Span {
  const { status, headers } = response;
  if (status === 416) {
    throw new MisfitError(describeUnsatisfied(headers.get("content-range"), position, size));
  }
  if (/^text\/html\b/i.test(headers.get("content-type") ?? "") && !/\.html?$/i.test(path)) {
    throw new MisfitError("a web page came instead of the file");
  }
  // fetch has undone these codings: the length that is announced is another one.
  const isCoded = /\b(x-)?(gzip|deflate|br|zstd)\b/i.test(headers.get("content-encoding") ?? "");
  const span = status === 206 ? readContentRange(headers.get("content-range"), size) : { start: 0, end: size };
  if (span === undefined || span.start > position || span.end <= position || (status === 206 && isCoded)) {
    throw new MisfitError("the answer holds another part of the file than was asked for");
  }
  const length = headers.get("content-length");
  if (length !== null && !isCoded && Number(length) !== span.end - span.start) {
    throw new MisfitError(`the answer has ${length} bytes where ${span.end - span.start} are missing`);
  }
  return span;
}

/** undefined: not a part of this file. */
function readContentRange(header: string | null, size: number): Span | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i.exec(header ?? "");
  if (match === null || (match[3] !== "*" && Number(match[3]) !== size)) {
    return undefined;
  }
  const [start, end] = [Number(match[1]), Number(match[2]) + 1];
  return end <= size ? { start, end } : undefined;
}

function describeUnsatisfied(header: string | null, position: number, size: number): string {
  const total = /^bytes \*\/(\d{1,15})$/i.exec(header ?? "")?.[1];
  return total === undefined || Number(total) === size
    ? `the server has no byte ${position} of the file (416)`
    : `the server's file has ${total} bytes where ${size} are expected (416)`;
}

/** The next bytes; undefined at the end. A connection that fails or stays silent is a TransientError. */
export async function readChunk(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  stallMs: number,
): Promise<Uint8Array | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TransientError(`no data for ${stallMs / 1000} s`)), stallMs);
  });
  try {
    const { value } = await Promise.race([reader.read(), stalled]);
    return value;
  } catch (cause) {
    throw cause instanceof TransientError
      ? cause
      : new TransientError(`cut off (${describeFailure(cause)})`, { cause });
  } finally {
    clearTimeout(timer);
  }
}
