// A hub on the loopback interface: the part of huggingface.co's interface that downloads use, with faults on demand.
//
// Small files are served by the hub itself, large ones ("lfs") through a redirect to /cdn/..., which stands for the
// storage host and has an origin of its own (another port). Repositories are called by their path on the hub, of a data
// set "datasets/owner/name"; other contents of a branch are a repository of its own, "datasets/owner/name@branch".

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { type Hub, type HubOptions, openHub } from "../../src/hub/http.js";

export interface FakeFile {
  content: Buffer;
  /** Stored behind a redirect, listed with a SHA-256. Default: files of 1 MB and more. */
  lfs?: boolean;
  /** Listed with a Xet hash, too, and answered with Xet's description if that is accepted. */
  xet?: boolean;
}

export interface FakeRepository {
  files: Record<string, FakeFile | Buffer | string>;
  /** Default: a hash of the name. */
  commit?: string;
  /** Other names of the commit. Default: main. */
  revisions?: string[];
  /** Only this token may read it. */
  token?: string;
  gated?: boolean;
}

/** What goes wrong with one request for contents; used up in order. */
export interface Fault {
  /** Only for requests whose path ends so. */
  path?: string;
  /** Only for requests for a part of a file. */
  ranged?: boolean;
  /** Answer with this status. */
  status?: number;
  retryAfter?: string;
  /** Of the answer, beside or instead of the usual ones. */
  headers?: Record<string, string>;
  /** The hub answers with a redirect to this address, where it has the contents or a redirect to them. */
  redirect?: string;
  /** Close the connection after the byte at this offset of the file. */
  cutAt?: number;
  /** End the answer properly, but early, with a length to match. */
  shortAt?: number;
  /** Bytes appended to the answer, counted in its length. */
  extra?: Buffer;
  /** Answer 200 with this text instead. */
  page?: string;
  /** The answer does not say how long it is. */
  noLength?: boolean;
  /** The byte at this offset of the file is flipped. */
  flipAt?: number;
  /** Answer 200 with the whole file, whatever range is asked for. */
  ignoreRange?: boolean;
  /** Answer with another range than was asked for. */
  shiftRange?: number;
  /** Answer to the end of the file, whatever end is asked for. */
  ignoreEnd?: boolean;
  /** Answer with at most so many bytes of a range, and say so. */
  partBytes?: number;
  /** The answer is compressed, although nobody has asked for that. */
  gzip?: boolean;
  /** Say nothing after this offset. */
  stallAt?: number;
  /** Answer only when this has come. */
  after?: Promise<unknown>;
}

export interface SeenRequest {
  method: string;
  path: string;
  host: string;
  headers: IncomingMessage["headers"];
  /** Bytes of contents that were sent. */
  sent: number;
}

export class FakeHub {
  readonly repositories = new Map<string, FakeRepository>();
  readonly faults: Fault[] = [];
  /** Faults that stay. */
  readonly lastingFaults: Fault[] = [];
  readonly seen: SeenRequest[] = [];
  /** Bytes of contents sent by all answers. */
  get sent(): number {
    return this.seen.reduce((sum, { sent }) => sum + sent, 0);
  }
  /** Paused between pieces of contents, in milliseconds; 0: none. */
  pieceDelayMs = 0;
  pieceBytes = 65536;
  /** Entries on one page of a listing. */
  pageSize = 1000;
  readonly #servers: Server[] = [];
  readonly #waiting: { condition: () => boolean; resolve: () => void }[] = [];
  #hubUrl = "";
  #cdnUrl = "";
  #signatures = 0;

  get url(): string {
    return this.#hubUrl;
  }

  static async start(): Promise<FakeHub> {
    const hub = new FakeHub();
    hub.#hubUrl = await hub.#listen((request, response) => hub.#serve(request, response));
    hub.#cdnUrl = await hub.#listen((request, response) => hub.#serveStorage(request, response));
    return hub;
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  #listen(handler: (request: IncomingMessage, response: ServerResponse) => Promise<void>): Promise<string> {
    const server = createServer((request, response) => {
      handler(request, response).catch((error) => response.destroy(error));
    });
    this.#servers.push(server);
    return new Promise((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
    });
  }

  commitOf(name: string): string {
    return this.repositories.get(name)?.commit ?? createHash("sha1").update(name).digest("hex");
  }

  #revisionsOf(key: string): string[] {
    const branch = /@(.+)$/.exec(key)?.[1] ?? "main";
    return [this.commitOf(key), ...(this.repositories.get(key)?.revisions ?? [branch])];
  }

  #note(request: IncomingMessage): SeenRequest {
    const { method = "", url = "", headers } = request;
    const seen = { method, path: decodeURIComponent(url), host: headers.host ?? "", headers, sent: 0 };
    this.seen.push(seen);
    for (const { condition, resolve } of this.#waiting) {
      if (condition()) {
        resolve();
      }
    }
    return seen;
  }

  /** Comes with the request after which `condition` holds. */
  once(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ condition, resolve });
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = this.#note(request);
    const url = new URL(request.url ?? "", this.#hubUrl);
    const path = decodeURIComponent(url.pathname);
    const [, repo = "", action, rest = ""] =
      /^\/((?:datasets\/)?[^/]+\/[^/]+)\/(revision|tree|resolve)\/(.+)$/.exec(
        path.replace(/^\/api\/(models(?=\/)|(?=datasets\/))\/?/, "/"),
      ) ?? [];
    const { name, revision } = this.#find(repo, rest, action === "resolve");
    const repository = this.repositories.get(name);
    const fault = this.#takeFault(request, action === "resolve");
    await fault?.after;
    if (fault?.redirect !== undefined) {
      response.writeHead(302, { location: fault.redirect });
      response.end();
      return;
    }
    if (fault?.status !== undefined) {
      return refuse(response, fault.status, fault);
    }
    if (!this.#admit(request, response, repository)) {
      return;
    }
    if (repository === undefined || revision === undefined) {
      return refuse(response, 404, "RevisionNotFound");
    }
    response.setHeader("x-repo-commit", this.commitOf(name));
    if (action === "revision") {
      return sendJson(response, { _id: "0", id: name, sha: this.commitOf(name), lastModified: "2026-01-01T00:00:00Z" });
    }
    if (action === "tree") {
      return this.#list(url, repository, response);
    }
    const file = fileOf(repository, rest.slice(revision.length + 1));
    if (file === undefined) {
      return refuse(response, 404, "EntryNotFound");
    }
    return this.#resolve(seen, request, response, file, `${name}/${rest.slice(revision.length + 1)}`);
  }

  #admit(request: IncomingMessage, response: ServerResponse, repository: FakeRepository | undefined): boolean {
    const given = request.headers.authorization?.replace(/^Bearer /, "");
    if (given === "hf_invalid") {
      refuse(response, 401);
    } else if (repository === undefined) {
      refuse(response, given === undefined ? 401 : 404, "RepoNotFound");
    } else if (repository.token !== undefined && repository.token !== given) {
      const gated = repository.gated ? "GatedRepo" : "RepoNotFound";
      refuse(response, given === undefined ? 401 : repository.gated ? 403 : 404, gated);
    } else {
      return true;
    }
    return false;
  }

  /** The contents that `rest`, a revision or one and a path, means. */
  #find(repo: string, rest: string, withPath: boolean): { name: string; revision?: string } {
    for (const name of [repo, ...[...this.repositories.keys()].filter((key) => key.startsWith(`${repo}@`))]) {
      const fits = (revision: string) => (withPath ? rest.startsWith(`${revision}/`) : rest === revision);
      const revision = this.#revisionsOf(name).find(fits);
      if (revision !== undefined) {
        return { name, revision };
      }
    }
    return { name: repo };
  }

  #list(url: URL, repository: FakeRepository, response: ServerResponse): void {
    const paths = Object.keys(repository.files);
    const start = Number(url.searchParams.get("cursor") ?? 0);
    if (start + this.pageSize < paths.length) {
      url.searchParams.set("cursor", String(start + this.pageSize));
      response.setHeader("link", `<${url.href}>; rel="next"`);
    }
    const entries = paths.slice(start, start + this.pageSize).map((path) => {
      const file = fileOf(repository, path) as FakeFile;
      const size = file.content.length;
      const oid = gitHash(file.content);
      const lfs = isLfs(file) ? { lfs: { oid: sha256(file.content), size, pointerSize: 130 } } : {};
      return { type: "file", path, size, oid, ...lfs, ...(file.xet && { xetHash: "0".repeat(64) }) };
    });
    sendJson(response, [{ type: "directory", path: "folder", size: 0, oid: "0".repeat(40) }, ...entries]);
  }

  async #resolve(
    seen: SeenRequest,
    request: IncomingMessage,
    response: ServerResponse,
    file: FakeFile,
    storagePath: string,
  ): Promise<void> {
    response.setHeader("x-linked-size", file.content.length);
    if (file.xet && /xet-fileinfo/.test(request.headers.accept ?? "")) {
      response.setHeader("content-type", "application/vnd.xet-fileinfo+json");
      response.setHeader("x-xet-hash", "0".repeat(64));
      response.end("{}");
    } else if (isLfs(file)) {
      const path = storagePath.split("/").map(encodeURIComponent).join("/");
      response.setHeader("x-linked-etag", `"${sha256(file.content)}"`);
      const location = `${this.#cdnUrl}/${path}?signature=secret-of-the-storage-${++this.#signatures}`;
      response.writeHead(302, { location });
      response.end();
    } else {
      response.setHeader("etag", `"${gitHash(file.content)}"`);
      await this.#sendContents(seen, request, response, file.content);
    }
  }

  async #serveStorage(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const seen = this.#note(request);
    const url = new URL(request.url ?? "", this.#cdnUrl);
    const place = decodeURIComponent(url.pathname).slice(1);
    const name = [...this.repositories.keys()].find((key) => place.startsWith(`${key}/`)) ?? "";
    const file = fileOf(this.repositories.get(name), place.slice(name.length + 1));
    if (file === undefined || !/^secret-of-the-storage-\d+$/.test(url.searchParams.get("signature") ?? "")) {
      return refuse(response, 403);
    }
    if (request.headers.authorization !== undefined) {
      return refuse(response, 400); // as S3 does
    }
    await this.#sendContents(seen, request, response, file.content);
  }

  #takeFault({ url = "", headers }: IncomingMessage, isRedirect = false): Fault | undefined {
    const path = decodeURIComponent(new URL(url, this.#hubUrl).pathname);
    const fits = (fault: Fault) =>
      path.endsWith(fault.path ?? "") &&
      (fault.redirect !== undefined) === isRedirect &&
      (!fault.ranged || headers.range !== undefined);
    const index = this.faults.findIndex(fits);
    return index >= 0 ? this.faults.splice(index, 1)[0] : this.lastingFaults.find(fits);
  }

  async #sendContents(
    seen: SeenRequest,
    request: IncomingMessage,
    response: ServerResponse,
    original: Buffer,
  ): Promise<void> {
    const fault = this.#takeFault(request) ?? {};
    await fault.after;
    if (fault.status !== undefined) {
      return refuse(response, fault.status, fault);
    }
    if (fault.page !== undefined) {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
      response.end(fault.page);
      return;
    }
    const content = fault.flipAt === undefined ? original : flipped(original, fault.flipAt);
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const ranged = range !== null && !fault.ignoreRange;
    const start = ranged ? Number(range[1]) + (fault.shiftRange ?? 0) : 0;
    if (start >= content.length && content.length > 0) {
      return refuse(response, 416);
    }
    const isOpen = !ranged || range[2] === "" || fault.ignoreEnd;
    const asked = isOpen ? content.length : Math.min(Number(range?.[2]) + 1, content.length);
    const last = ranged ? Math.min(asked, start + (fault.partBytes ?? content.length)) : asked;
    const end = Math.max(start, fault.shortAt ?? last);
    const plain = Buffer.concat([content.subarray(start, end), fault.extra ?? Buffer.alloc(0)]);
    const body = fault.gzip ? gzipSync(plain) : plain;
    if (ranged) {
      response.setHeader("content-range", `bytes ${start}-${last - 1}/${content.length}`);
    }
    if (fault.gzip) {
      response.setHeader("content-encoding", "gzip");
    }
    const length = fault.noLength ? {} : { "content-length": body.length };
    response.writeHead(ranged ? 206 : 200, { ...length, ...fault.headers });
    const stop = Math.min(body.length, Math.max(0, (fault.cutAt ?? fault.stallAt ?? Number.POSITIVE_INFINITY) - start));
    for (let at = 0; at < stop && !response.destroyed; at += this.pieceBytes) {
      const piece = body.subarray(at, Math.min(stop, at + this.pieceBytes));
      seen.sent += piece.length; // before the client can have it
      await new Promise((resolve) => response.write(piece, resolve));
      if (this.pieceDelayMs > 0) {
        await delay(this.pieceDelayMs);
      }
    }
    if (fault.stallAt !== undefined) {
      return; // until the client goes away
    }
    if (fault.cutAt !== undefined) {
      response.socket?.end(); // what was written still arrives
      return;
    }
    response.end();
  }
}

function fileOf(repository: FakeRepository | undefined, path: string): FakeFile | undefined {
  const file = repository?.files[path];
  if (file === undefined) {
    return undefined;
  }
  return typeof file === "string" ? { content: Buffer.from(file) } : Buffer.isBuffer(file) ? { content: file } : file;
}

function isLfs(file: FakeFile): boolean {
  return file.lfs ?? file.content.length >= 1_000_000;
}

export type FakeHubOptions = HubOptions & { token?: string; offline?: boolean };

/** The library's view of a fake hub: a cache of its own, waits of milliseconds, and what is noted in `notes`. */
export function openFakeHub(
  fake: FakeHub,
  { cacheDir, notes }: { cacheDir: string; notes: string[] },
  { token, offline = false, retry, ...options }: FakeHubOptions = {},
): Promise<Hub> {
  const access = token === undefined ? {} : { token, tokenSource: "HF_TOKEN" };
  return openHub({
    environment: { endpoint: fake.url, cacheDir, offline, ...access },
    retry: { baseDelayMs: 1, maxDelayMs: 4, stallMs: 2000, ...retry },
    onNote: (text) => notes.push(text),
    ...options,
  });
}

export function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

export function gitHash(content: Buffer): string {
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

function flipped(content: Buffer, at: number): Buffer {
  const copy = Buffer.from(content);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, why: string | Fault = {}): void {
  const { retryAfter, headers }: Fault = typeof why === "string" ? { headers: { "x-error-code": why } } : why;
  if (retryAfter !== undefined) {
    response.setHeader("retry-after", retryAfter);
  }
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ error: "as the test asked for" }));
}
