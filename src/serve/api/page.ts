// The page at "/", or the files of a folder in its place.

import { createReadStream, existsSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { extname, join, relative, sep } from "node:path";
import { gzipSync } from "node:zlib";
import type { FastifyReply } from "fastify";
import { BitnetError } from "../../system/errors.js";
import { packageRoot } from "../../system/package.js";
import type { Register } from "../context.js";
import { ApiError } from "../errors.js";

const types: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".webmanifest": "application/manifest+json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".txt": "text/plain; charset=utf-8",
  ".woff2": "font/woff2",
};

/** What the page may do: nothing but talk with this server. What it shows of a model's text can load and run nothing. */
const policy = [
  "default-src 'self'",
  "img-src 'self'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const pageHeaders = {
  "content-security-policy": policy,
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};

/** Whoever may not ask the model still gets the page, which then wants a key. */
const isOpen = { config: { access: "open" } } as const;

export const register: Register = (app, { options }) => {
  if (options.staticFolder !== undefined) {
    const root = realpathSync(options.staticFolder);
    app.get<{ Params: { "*": string } }>("/*", isOpen, ({ params }, reply) => sendFile(root, params["*"], reply));
    return;
  }
  const files = options.ui ? readPage(join(packageRoot, "dist", "ui")) : new Map<string, PageFile>();
  for (const [path, file] of files) {
    for (const url of path === "index.html" ? ["/", "/index.html"] : [`/${path}`]) {
      app.get(url, isOpen, ({ headers }, reply) => sendPage(file, headers["accept-encoding"], reply));
    }
  }
};

interface PageFile {
  type: string;
  plain: Buffer;
  zipped: Buffer;
  /** Its name changes with its content. */
  isHashed: boolean;
}

/** The files of the page, a few hundred kilobytes. */
function readPage(folder: string): Map<string, PageFile> {
  if (!existsSync(folder)) {
    throw new BitnetError("INTERNAL", `the page is not built: ${folder} is not there`, {
      hint: "npm run build:ui builds it; --no-ui does without",
    });
  }
  const files = new Map<string, PageFile>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) {
      const path = join(entry.parentPath, entry.name);
      const plain = readFileSync(path);
      const name = relative(folder, path).split(sep).join("/");
      files.set(name, { type: typeOf(name), plain, zipped: gzipSync(plain), isHashed: name.startsWith("assets/") });
    }
  }
  return files;
}

function typeOf(name: string): string {
  return types[extname(name).toLowerCase()] ?? "application/octet-stream";
}

function sendPage({ type, plain, zipped, isHashed }: PageFile, accepted: unknown, reply: FastifyReply): FastifyReply {
  const isZipped = typeof accepted === "string" && /\bgzip\b/.test(accepted);
  return reply
    .headers({
      ...pageHeaders,
      "content-type": type,
      "cache-control": isHashed ? "public, max-age=31536000, immutable" : "no-cache",
      vary: "accept-encoding",
      ...(isZipped ? { "content-encoding": "gzip" } : {}),
    })
    .send(isZipped ? zipped : plain);
}

/** A file below `root`; links that lead out of it are not followed. */
function sendFile(root: string, asked: string, reply: FastifyReply): FastifyReply {
  const path = findFile(root, asked === "" ? "index.html" : asked);
  if (path === undefined) {
    throw new ApiError("not_found_error", "there is nothing at this path", { code: "not_found", shouldRetry: false });
  }
  return reply.header("content-type", typeOf(path)).send(createReadStream(path));
}

function findFile(root: string, asked: string): string | undefined {
  if (asked.includes("\0")) {
    return undefined;
  }
  try {
    const path = realpathSync(join(root, asked));
    const isInside = path.startsWith(root.endsWith(sep) ? root : root + sep);
    return isInside && statSync(path).isFile() ? path : undefined;
  } catch {
    return undefined;
  }
}
