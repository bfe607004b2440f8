// What a browser can be made to do by a page of somebody else: DNS rebinding, posts across origins. And how many
// connections an address may hold.

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server, Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import type { FastifyReply, FastifyRequest } from "fastify";
import { isLocalName, prefixOf } from "./addresses.js";
import type { Register } from "./context.js";
import { ApiError } from "./errors.js";
import type { ServeOptions } from "./options.js";

export const register: Register = (app, { options }) => {
  app.addHook("onRequest", async (request, reply) => {
    checkHost(request.raw, options);
    const { origin } = request.headers;
    if (origin !== undefined) {
      answerOrigin(origin, request, reply, options);
    }
  });
  app.options("/*", async (request, reply) => answerPreflight(request, reply));
};

/**
 * A page that makes its own name mean this machine's address still sends its own name. Where only this machine can reach
 * the server, names of others are refused; elsewhere those that are not allowed, if some are.
 */
export function checkHost(
  { rawHeaders, headers, socket }: FastifyRequest["raw"],
  { hosts, allowedHosts }: Pick<ServeOptions, "hosts" | "allowedHosts">,
): void {
  const names = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === "host");
  if (names.length > 1) {
    throw new ApiError("invalid_request_error", "expected one Host header", { code: "invalid_host" });
  }
  const isGuarded = allowedHosts.length > 0 || hosts.every((host) => host.endsWith(".sock") || isLocalName(host));
  if (!isGuarded || socket.remoteAddress === undefined) {
    return; // sockets of this machine are out of a browser's reach
  }
  const host = hostName(headers.host ?? "");
  const known = [...allowedHosts, ...hosts].map((name) => name.toLowerCase());
  if (!isLocalName(host) && !known.includes(host) && !known.includes("*")) {
    throw new ApiError("permission_error", "this server does not answer to the name in the Host header", {
      code: "forbidden_host",
      shouldRetry: false,
    });
  }
}

/** Without the port: "[::1]:80" is "::1". */
function hostName(host: string): string {
  const [, bracketed, name] = /^(?:\[([\da-f:.]+)\]|([^:[\]/@\s]*))(?::\d*)?$/i.exec(host) ?? [];
  return (bracketed ?? name ?? "").toLowerCase();
}

const exposed = [
  "x-request-id",
  "openai-processing-ms",
  "retry-after",
  "retry-after-ms",
  "x-should-retry",
  ...["limit", "remaining", "reset"].flatMap((what) => [`x-ratelimit-${what}-requests`, `x-ratelimit-${what}-tokens`]),
  "x-bitnet-cache",
  "x-bitnet-filter",
  "x-bitnet-ignored",
].join(", ");

function answerOrigin(origin: string, request: FastifyRequest, reply: FastifyReply, options: ServeOptions): void {
  reply.header("vary", "Origin");
  const isNamed = options.corsOrigins.includes(origin);
  const isAny = options.corsOrigins.includes("*");
  const isOwn = isOwnOrigin(origin, request) || isLocalOrigin(origin);
  if (!isNamed && !isAny && !isOwn) {
    throw new ApiError("permission_error", "pages of this origin may not use this server", {
      code: "forbidden_origin",
      shouldRetry: false,
    });
  }
  reply.header("access-control-allow-origin", isNamed || isOwn ? origin : "*");
  if (isNamed) {
    reply.header("access-control-allow-credentials", "true"); // never with "*"
  }
  reply.header("access-control-expose-headers", exposed);
  // A form or a text needs no preflight: a browser would send it for any page.
  if (request.method === "POST" && !/^application\/json *(;|$)/i.test(request.headers["content-type"] ?? "")) {
    throw new ApiError("invalid_request_error", "expected content-type application/json from a web page", {
      ...{ status: 415, code: "unsupported_media_type", shouldRetry: false },
    });
  }
}

function isOwnOrigin(origin: string, { headers }: FastifyRequest): boolean {
  return (
    /^https?:\/\//.test(origin) && origin.replace(/^https?:\/\//, "").toLowerCase() === headers.host?.toLowerCase()
  );
}

function isLocalOrigin(origin: string): boolean {
  const host = /^https?:\/\/([^/@]+)$/i.exec(origin)?.[1];
  return host !== undefined && isLocalName(hostName(host));
}

function answerPreflight(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const wanted = request.headers["access-control-request-headers"] ?? "";
  const names = String(wanted)
    .split(",")
    .map((name) => name.trim())
    .filter((name) => /^[\w-]{1,64}$/.test(name));
  reply.header("access-control-allow-methods", "GET, POST, DELETE");
  reply.header("access-control-allow-headers", names.slice(0, 64).join(", "));
  reply.header("access-control-max-age", "600");
  if (request.headers["access-control-request-private-network"] === "true") {
    reply.header("access-control-allow-private-network", "true");
  }
  return reply.status(204).send();
}

/**
 * Counts the connections of every address. The result answers requests of connections beyond `most`; those beyond twice as
 * many are closed unread.
 */
export function limitConnections(
  server: Server,
  most: number,
): (request: IncomingMessage, reply: ServerResponse) => boolean {
  const counts = new Map<string, number>();
  const excess = new WeakSet<Socket>();
  const count = (socket: Socket) => {
    if (socket.remoteAddress === undefined) {
      return;
    }
    const address = prefixOf(socket.remoteAddress);
    const now = (counts.get(address) ?? 0) + 1;
    if (now > 2 * most) {
      socket.destroy();
      return;
    }
    if (now > most) {
      excess.add(socket);
    }
    counts.set(address, now);
    socket.once("close", () => {
      const left = (counts.get(address) ?? 1) - 1;
      if (left === 0) {
        counts.delete(address);
      } else {
        counts.set(address, left);
      }
    });
  };
  server.on(server instanceof TlsServer ? "secureConnection" : "connection", count);
  return (request, reply) => {
    if (!excess.has(request.socket)) {
      return false;
    }
    const error = new ApiError("rate_limit_error", `more than ${most} connections of one address`, {
      code: "too_many_connections",
      retryAfter: 1,
    });
    const body = JSON.stringify({ error: error.body });
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      connection: "close",
    };
    reply.writeHead(error.status, { ...error.headers, ...headers }).end(body);
    request.resume();
    return true;
  };
}
