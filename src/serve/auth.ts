// Who asks: keys, and what each may do.

import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import type { FastifyRequest } from "fastify";
import { BitnetError, reasonOf } from "../system/errors.js";
import { addressClient, allScopes, isLocalName, isLoopback } from "./addresses.js";
import type { Register } from "./context.js";
import { ApiError } from "./errors.js";
import type { GuardOptions } from "./guard-options.js";
import type { Client, Scope } from "./request.js";

/** Paths below the prefix that anybody may read. Files of the page say so themselves (`access: "open"`). */
const openRoutes = new Set([
  "/health",
  "/v1/health",
  "/livez",
  "/readyz",
  "/v2/health/live",
  "/v2/health/ready",
  "/models",
  "/v1/models",
]);

export const register: Register = (app, context) => {
  const { options } = context;
  const ring = new KeyRing(options);
  context.onReload(() => ring.reload());
  app.addHook("onRequest", async (request) => {
    if (request.client !== undefined) {
      if (request.notes !== undefined) {
        request.notes.isInside = true;
      }
      return; // of this process itself
    }
    const access = accessOf(request, options.apiPrefix);
    const key = presentedKey(request.headers);
    const byAddress = addressClient(addressOf(request, options.trustProxy));
    if (ring.isEmpty || access === "open") {
      request.client = byAddress;
    } else {
      request.client = ring.find(key);
    }
    if (access !== "open" && !request.client.scopes.has(access)) {
      throw new ApiError("permission_error", `this needs the scope ${access}, which the key or address does not have`, {
        ...{ code: "forbidden", shouldRetry: false },
      });
    }
  });
};

/** What a proxy passes on is not of this machine, also where the proxy itself is and nobody said so. */
function addressOf({ ip, headers }: FastifyRequest, trustProxy: number): string {
  const isForwarded = headers["x-forwarded-for"] !== undefined || headers.forwarded !== undefined;
  return trustProxy === 0 && isForwarded && isLoopback(ip) ? "proxy" : ip;
}

/** What a request needs. */
export function accessOf(request: FastifyRequest, prefix: string): Scope | "open" {
  const { url = "", config } = request.routeOptions;
  if (config.access !== undefined) {
    return config.access;
  }
  const path = url.slice(prefix.length);
  const isRead = request.method === "GET" || request.method === "HEAD";
  if (request.method === "OPTIONS" || (isRead && openRoutes.has(path))) {
    const isDeep = (request.query as { deep?: unknown } | undefined)?.deep !== undefined;
    return isDeep && path.endsWith("/health") ? "admin" : "open";
  }
  if (path === "/metrics") {
    return "metrics";
  }
  return path.startsWith("/admin/") ? "admin" : "chat";
}

const maxKeyLength = 1024;

/** The key of a request, wherever its client puts it. Never of the URL, which is written down in many places. */
function presentedKey(headers: IncomingHttpHeaders): string | undefined {
  const { authorization } = headers;
  const bearer = authorization === undefined ? undefined : /^bearer +(\S+) *$/i.exec(authorization)?.[1];
  const given = new Set([bearer, headers["x-api-key"], headers["api-key"]].filter((key) => key !== undefined));
  if (given.size > 1) {
    throw unauthorized("the request has several different API keys");
  }
  const [key] = given;
  return typeof key === "string" && key.length <= maxKeyLength ? key : undefined;
}

function unauthorized(message: string): ApiError {
  return new ApiError("authentication_error", message, { code: "invalid_api_key", shouldRetry: false });
}

interface Key {
  /** SHA-256; the key itself is not kept. */
  digest: Buffer;
  client: Client;
}

/** All keys. Which one fits is found without telling by its time how much of one fits. */
export class KeyRing {
  readonly #options: Pick<GuardOptions, "apiKeys" | "apiKeyFile">;
  #keys: readonly Key[];

  /** Throws what is wrong with the file of keys. */
  constructor(options: Pick<GuardOptions, "apiKeys" | "apiKeyFile">) {
    this.#options = options;
    this.#keys = readKeys(options);
  }

  get isEmpty(): boolean {
    return this.#keys.length === 0;
  }

  /** Reads the file anew; if it is wrong, the keys stay as they are. A server with keys never comes to have none. */
  reload(): void {
    const keys = readKeys(this.#options);
    if (keys.length === 0 && !this.isEmpty) {
      throw new BitnetError("USAGE", `${this.#options.apiKeyFile}: it has no key any more; the keys stay as they were`);
    }
    this.#keys = keys;
  }

  find(key: string | undefined): Client {
    if (key === undefined) {
      throw unauthorized("this server needs an API key: send it as Authorization: Bearer KEY");
    }
    const digest = digestOf(key);
    let found: Client | undefined;
    for (const known of this.#keys) {
      found = timingSafeEqual(known.digest, digest) ? known.client : found;
    }
    if (found === undefined) {
      throw unauthorized("the API key is not known");
    }
    return found;
  }
}

function digestOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

function readKeys({ apiKeys, apiKeyFile }: Pick<GuardOptions, "apiKeys" | "apiKeyFile">): Key[] {
  const keys = apiKeys.map((key) => keyOf(key, { scopes: new Set(allScopes) }));
  return apiKeyFile === undefined ? keys : [...keys, ...readKeyFile(apiKeyFile)];
}

function keyOf(key: string, rights: Omit<Client, "id" | "salt" | "weight"> & { weight?: number }): Key {
  const digest = digestOf(key);
  const id = `key:${digest.toString("hex").slice(0, 32)}`;
  return { digest, client: { weight: 1, ...rights, id, salt: id } };
}

const maxFile = 4 * 2 ** 20; // bytes

function readKeyFile(path: string): Key[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new BitnetError("USAGE", `${path}: the keys cannot be read: ${reasonOf(error)}`, { cause: error });
  }
  if (text.length > maxFile) {
    throw new BitnetError("USAGE", `${path}: expected at most ${maxFile} bytes of keys`);
  }
  const keys: Key[] = [];
  const digests = new Set<string>();
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) {
      continue;
    }
    const key = readKeyLine(line, `${path}:${i + 1}`);
    if (digests.has(key.client.id)) {
      throw new BitnetError("USAGE", `${path}:${i + 1}: this key stands there twice`);
    }
    digests.add(key.client.id);
    keys.push(key);
  }
  return keys;
}

const attributes = ["name", "scope", "rpm", "tpm", "weight"];

/** Errors name the line and never the key. */
function readKeyLine(line: string, place: string): Key {
  const [key = "", ...words] = line.trim().split(/\s+/);
  const values = new Map<string, string>();
  for (const word of words) {
    const [, name = "", value = ""] = /^(\w+)=(\S+)$/.exec(word) ?? [];
    if (!attributes.includes(name)) {
      throw new BitnetError(
        "USAGE",
        `${place}: expected NAME=VALUE with one of ${attributes.join(", ")} after the key`,
      );
    }
    values.set(name, value);
  }
  if (key.length > maxKeyLength) {
    throw new BitnetError("USAGE", `${place}: expected a key of at most ${maxKeyLength} characters`);
  }
  const number = (name: string, min: number) => readNumber(values.get(name), { name, min, place });
  return keyOf(key, {
    scopes: new Set(readScopes(values.get("scope") ?? "chat", place)),
    requestsPerMinute: number("rpm", 0),
    tokensPerMinute: number("tpm", 0),
    weight: number("weight", 0.01) ?? 1,
  });
}

function readScopes(text: string, place: string): Scope[] {
  return text.split(",").map((name) => {
    const scope = allScopes.find((known) => known === name);
    if (scope === undefined) {
      throw new BitnetError("USAGE", `${place}: scope: expected some of ${allScopes.join(",")}`);
    }
    return scope;
  });
}

function readNumber(
  text: string | undefined,
  { name, min, place }: { name: string; min: number; place: string },
): number | undefined {
  if (text === undefined) {
    return undefined;
  }
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= 1e6 * (name === "tpm" ? 1e6 : 1))) {
    throw new BitnetError("USAGE", `${place}: ${name}: expected a number from ${min} on`);
  }
  return value;
}

/** What is wrong with listening where others can reach the server; undefined: nothing. */
export function findExposure(
  options: Pick<GuardOptions, "apiKeys" | "apiKeyFile" | "insecure"> & { hosts: readonly string[] },
): string | undefined {
  const open = options.hosts.find((host) => !host.endsWith(".sock") && !isLocalName(host));
  if (open === undefined || options.insecure || !new KeyRing(options).isEmpty) {
    return undefined;
  }
  return (
    `--host ${open}: everybody who can reach this address could use the model; ` +
    "give keys with --api-key-file, or say --insecure if something in front of it asks for them"
  );
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** What a route needs, where its path does not tell. */
    access?: Scope | "open";
  }
}
