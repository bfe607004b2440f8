// A fetch that goes through the proxies of https_proxy, http_proxy, all_proxy and no_proxy. Node's own does not.

import type { ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { BitnetError } from "../system/errors.js";
import { describeFailure } from "./failures.js";

type Variables = Record<string, string | undefined>;

interface Proxy {
  address: string;
  /** The variable that names it. */
  variable: string;
}

/** The proxy for `url`, if any. Lower case names win, as in curl. */
export function proxyFor(url: URL, env: Variables = process.env): string | undefined {
  return findProxy(url, env)?.address;
}

function findProxy(url: URL, env: Variables): Proxy | undefined {
  const read = (name: string): Proxy | undefined => {
    const variable = [name, name.toUpperCase()].find((spelling) => env[spelling]);
    return variable === undefined ? undefined : { address: env[variable] ?? "", variable };
  };
  if (isExempt(url, read("no_proxy")?.address ?? "")) {
    return undefined;
  }
  return read(url.protocol === "https:" ? "https_proxy" : "http_proxy") ?? read("all_proxy");
}

/** `no_proxy`: names with their subdomains, with or without a leading dot, perhaps with a port; * for all. */
function isExempt(url: URL, noProxy: string): boolean {
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return noProxy.split(/[\s,]+/).some((entry) => {
    const match = /^(?:\*?\.)?(\[[^\]]*\]|[^:]+)(?::(\d+))?$/.exec(entry.toLowerCase());
    if (entry === "*") {
      return true;
    }
    if (match === null || (match[2] !== undefined && match[2] !== port)) {
      return false;
    }
    return url.hostname === match[1] || url.hostname.endsWith(`.${match[1]}`);
  });
}

/** A proxy's own answer, or a failure on the way through it. Without its password, as its cause is, too. */
export class ProxyError extends Error {
  /** Of its answer; undefined if it gave none. */
  readonly status: number | undefined;
  readonly hint: string;

  constructor(url: URL, { address, variable }: Proxy, cause: unknown) {
    const { host, username } = new URL(withScheme(address));
    const status = statusOf(cause);
    const wanted =
      username === "" ? "wants a user name and a password" : `refuses the user name or password in ${variable}`;
    const what =
      status === undefined
        ? `cannot reach ${url.host} through the proxy ${host} (${describeFailure(cause)})`
        : status === 407
          ? `the proxy ${host} ${wanted} (407)`
          : `the proxy ${host} does not connect to ${url.host} (${status})`;
    super(what, { cause });
    this.status = status;
    this.hint =
      status === 407
        ? `set ${variable} to http://USER:PASSWORD@${host}, with special characters as %40 for @`
        : `check ${variable}, or ask those who run the proxy; no_proxy=${url.hostname} goes without it`;
  }
}

/** undici tells the status that it does not pass on only in the text of its error. */
function statusOf(error: unknown): number | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof TunnelError) {
      return cause.status;
    }
    if (cause.message.startsWith("Proxy Authentication Required")) {
      return 407;
    }
  }
  return undefined;
}

/** Node's fetch if no proxy is configured; undici is loaded only if one is. Throws ProxyError. */
export function createProxyFetch(env: Variables = process.env): typeof fetch {
  const ways = new Map<string, Way>();
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const proxy = findProxy(url, env);
    if (proxy === undefined) {
      return fetch(input, init);
    }
    const key = `${url.protocol} ${proxy.address}`;
    const way = ways.get(key) ?? createWay(url, readProxy(proxy));
    ways.set(key, way);
    // undici's types and Node's describe the same objects under different names.
    const proxied = (await import("undici")).fetch as unknown as (url: URL, init: unknown) => Promise<Response>;
    way.requests++;
    try {
      return await proxied(url, { ...init, dispatcher: await way.dispatcher });
    } catch (error) {
      throw new ProxyError(url, proxy, error);
    } finally {
      way.requests--;
      if (way.requests === 0) {
        closeOpening(way); // nobody waits for them any more
      }
    }
  };
}

function withScheme(address: string): string {
  return address.includes("://") ? address : `http://${address}`;
}

interface ProxyAccess {
  origin: URL;
  /** Of Proxy-Authorization. */
  token?: string;
}

function readProxy({ address, variable }: Proxy): ProxyAccess {
  const given = withScheme(address);
  const isHttp = URL.canParse(given) && /^https?:/i.test(given);
  const { origin, username, password } = new URL(isHttp ? given : "http://none");
  const token = username === "" ? undefined : readCredentials(username, password);
  if (!isHttp || token === "") {
    // Not quoted: it may hold a password.
    throw new BitnetError("UNSUPPORTED", `the proxy in ${variable} is not the address of an HTTP proxy`, {
      hint: "expected an address like http://proxy.example:8080 or http://USER:PASSWORD@proxy.example:8080",
    });
  }
  return { origin: new URL(origin), ...(token !== undefined && { token }) };
}

/** The header's value; empty if the percent signs mean nothing. */
function readCredentials(username: string, password: string): string {
  try {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    return `Basic ${Buffer.from(pair).toString("base64")}`;
  } catch {
    return "";
  }
}

/** Tunnels that are not open yet. */
type Opening = Set<ClientRequest>;

/** How requests of one kind go through one proxy. */
interface Way {
  dispatcher: Promise<unknown>;
  opening: Opening;
  /** That wait for an answer. */
  requests: number;
}

function createWay(url: URL, access: ProxyAccess): Way {
  const opening: Opening = new Set();
  return { dispatcher: createDispatcher(url, access, opening), opening, requests: 0 };
}

function closeOpening({ opening }: Way): void {
  for (const tunnel of opening) {
    tunnel.destroy(new Error("given up"));
  }
}

/**
 * Asks the proxy itself for plain HTTP, as many open a tunnel to nothing but port 443. Tunnels are made here, not by
 * undici's ProxyAgent, which connects anew thousands of times a second to a proxy that hangs up.
 */
async function createDispatcher(url: URL, { origin, token }: ProxyAccess, opening: Opening): Promise<unknown> {
  const { Agent, buildConnector, ProxyAgent } = await import("undici");
  if (url.protocol === "http:" && origin.protocol === "http:") {
    return new ProxyAgent({ uri: origin.href, proxyTunnel: false, ...(token !== undefined && { token }) });
  }
  const secure = buildConnector({});
  return new Agent({
    connect: (options, callback) => {
      const port = options.port || (options.protocol === "https:" ? "443" : "80");
      openTunnel({ origin, token }, `${options.hostname}:${port}`, opening).then(
        (socket) =>
          options.protocol === "https:" ? secure({ ...options, httpSocket: socket }, callback) : callback(null, socket),
        (error) => callback(error, null),
      );
    },
  });
}

/** The status with which a proxy refuses a tunnel. */
class TunnelError extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`the proxy answered ${status}`);
    this.status = status;
  }
}

const tunnelTimeoutMs = 60_000;

/** A connection to `target`, "host:port", through the proxy. */
async function openTunnel({ origin, token }: ProxyAccess, target: string, opening: Opening): Promise<Socket> {
  const { request } = origin.protocol === "https:" ? await import("node:https") : await import("node:http");
  return new Promise((resolve, reject) => {
    const connecting: ClientRequest = request(origin, {
      method: "CONNECT",
      path: target,
      agent: false,
      timeout: tunnelTimeoutMs,
      headers: { host: target, ...(token !== undefined && { "proxy-authorization": token }) },
    });
    connecting.once("connect", ({ statusCode = 0 }: IncomingMessage, socket: Socket) => {
      if (statusCode >= 200 && statusCode < 300) {
        resolve(socket.setTimeout(0));
      } else {
        socket.destroy();
        reject(new TunnelError(statusCode));
      }
    });
    opening.add(connecting);
    connecting.once("close", () => opening.delete(connecting));
    connecting.once("timeout", () => connecting.destroy(new Error("no answer")));
    connecting.once("error", reject);
    connecting.end();
  });
}
