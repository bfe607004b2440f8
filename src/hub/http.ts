// Requests to the hub: the token, redirects, retries, and errors that say what to do.
//
// The token goes to the hub's own address only. Large files answer with a redirect to a storage host (this holds for
// files stored through Xet too, as long as no Xet media type is asked for); that host gets a signed address instead,
// which is as secret as the token: no message shows the query of an address.

import { setTimeout as delay } from "node:timers/promises";
import { abortedError, BitnetError, throwIfAborted } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { type HubEnvironment, readHubEnvironment } from "./environment.js";
import { createProxyFetch } from "./proxy.js";

export interface RetryPolicy {
  /** Failures in a row without a byte of progress before giving up. Default: 6. */
  attempts: number;
  /** Before the first retry; doubled for each further one, with jitter. Default: 1000. */
  baseDelayMs: number;
  /** Default: 30000. */
  maxDelayMs: number;
  /** The longest that a server's Retry-After is followed; what asks for more fails at once. Default: 300000. */
  maxRetryAfterMs: number;
  /** Without a byte for so long, a connection counts as cut. Default: 60000. */
  stallMs: number;
}

const defaultRetry: RetryPolicy = {
  attempts: 6,
  baseDelayMs: 1000,
  maxDelayMs: 30_000,
  maxRetryAfterMs: 300_000,
  stallMs: 60_000,
};

export interface Hub {
  readonly environment: HubEnvironment;
  readonly retry: RetryPolicy;
  readonly fetch: typeof fetch;
  /** Told what is worth a line in a log: fallbacks, and retries where nobody takes them. */
  readonly onNote: (text: string) => void;
  /** Told of each retry, before its pause. */
  readonly onRetry?: (retry: HubRetry) => void;
}

/** A request that failed and will be repeated. */
export interface HubRetry {
  /** What was asked for: "owner/name" or "owner/name/file". */
  subject: string;
  reason: string;
  /** Milliseconds until then. */
  pause: number;
}

export interface HubOptions {
  /** Default: read from the process's environment. */
  environment?: HubEnvironment;
  /** Default: Node's, through the proxy of the environment. */
  fetch?: typeof fetch;
  retry?: Partial<RetryPolicy>;
  onNote?: (text: string) => void;
  /** Default: a note. */
  onRetry?: (retry: HubRetry) => void;
}

const hubOptions: OptionNames<HubOptions> = {
  environment: true,
  fetch: true,
  retry: true,
  onNote: true,
  onRetry: true,
};

export async function openHub(options: HubOptions = {}): Promise<Hub> {
  checkOptionNames("openHub", options, hubOptions);
  const environment = options.environment ?? (await readHubEnvironment());
  return {
    environment,
    retry: { ...defaultRetry, ...options.retry },
    fetch: options.fetch ?? createProxyFetch(),
    onNote: options.onNote ?? (() => {}),
    onRetry: options.onRetry,
  };
}

export interface HubRequest {
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** What is asked for, for messages: "owner/name" or "owner/name/file". */
  subject: string;
  /** The repository the request belongs to, for messages. */
  repo: string;
}

/** A failure that may pass: the same request is worth repeating. */
export class TransientError extends Error {
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { retryAfterMs?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** The successful response to a GET, after redirects and retries. */
export async function requestHub(hub: Hub, url: string, request: HubRequest): Promise<Response> {
  return retrying(hub, request, () => requestOnce(hub, url, request));
}

/**
 * Repeats `attempt` while it throws TransientError, with growing pauses. `progress` tells how far it has come: any
 * change starts the count again.
 */
export async function retrying<T>(
  hub: Hub,
  { subject, signal }: Pick<HubRequest, "subject" | "signal">,
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  for (let failures = 0, before = progress(); ; before = progress()) {
    throwIfAborted(signal);
    try {
      return await attempt();
    } catch (error) {
      if (signal?.aborted) {
        throw abortedError(signal);
      }
      if (!(error instanceof TransientError)) {
        throw error;
      }
      failures = progress() === before ? failures + 1 : 1;
      if (failures >= hub.retry.attempts || (error.retryAfterMs ?? 0) > hub.retry.maxRetryAfterMs) {
        throw unreachableError(hub, subject, error);
      }
      const pause = error.retryAfterMs ?? backoff(hub.retry, failures);
      if (hub.onRetry === undefined) {
        hub.onNote(`${subject}: ${error.message}; trying again in ${(pause / 1000).toFixed(1)} s`);
      } else {
        hub.onRetry({ subject, reason: error.message, pause });
      }
      await delay(pause, undefined, { signal }).catch(() => throwIfAborted(signal));
    }
  }
}

function backoff({ baseDelayMs, maxDelayMs }: RetryPolicy, failures: number): number {
  return Math.min(maxDelayMs, baseDelayMs * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
}

function unreachableError(hub: Hub, subject: string, error: TransientError): BitnetError {
  const limited = error.message.startsWith("429");
  const wait = error.retryAfterMs === undefined ? "" : ` for ${Math.ceil(error.retryAfterMs / 1000)} s`;
  const hint = limited
    ? `wait${wait || " a few minutes"} and run the same command again, it continues where it stopped; ${
        hub.environment.token === undefined
          ? "with HF_TOKEN set the hub allows more requests"
          : "other downloads count too"
      }`
    : "run the same command again, it continues where it stopped; behind a proxy set https_proxy, for another server " +
      "HF_ENDPOINT, and HF_HUB_OFFLINE=1 to use only what is downloaded already";
  return new BitnetError("NETWORK", `${subject}: ${error.message}`, { hint, cause: error });
}

/** One attempt. Throws TransientError for what may pass. */
export async function requestOnce(hub: Hub, url: string, request: HubRequest): Promise<Response> {
  const response = await followRedirects(hub, url, request);
  if (response.ok) {
    return response;
  }
  await response.body?.cancel().catch(() => {});
  if ([408, 425, 429, 500, 502, 503, 504].includes(response.status)) {
    const message = `${response.status} ${describeStatus(response.status)}`;
    throw new TransientError(message, { retryAfterMs: readRetryAfter(response.headers.get("retry-after")) });
  }
  throw refusedError(hub, response, request);
}

async function followRedirects(hub: Hub, start: string, request: HubRequest): Promise<Response> {
  const home = new URL(hub.environment.endpoint);
  let url = new URL(start);
  for (let hops = 0; hops < 10; hops++) {
    const response = await sendRequest(hub, url, home, request);
    const location = response.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) {
      return response;
    }
    await response.body?.cancel().catch(() => {});
    const next = new URL(location, url);
    if (next.protocol !== "https:" && next.protocol !== home.protocol) {
      throw new BitnetError("NETWORK", `${request.subject}: the hub redirects to an address that is not safe`);
    }
    url = next;
  }
  throw new BitnetError("NETWORK", `${request.subject}: more than 10 redirects`);
}

async function sendRequest(hub: Hub, url: URL, home: URL, { headers, signal }: HubRequest): Promise<Response> {
  const token = url.origin === home.origin ? hub.environment.token : undefined;
  const stalled = new AbortController();
  const timer = setTimeout(() => stalled.abort(), hub.retry.stallMs);
  try {
    return await hub.fetch(url, {
      redirect: "manual",
      headers: {
        "user-agent": "bitnet-cli",
        "accept-encoding": "identity", // sizes and ranges count the bytes of the file itself
        ...headers,
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      signal: signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal]),
    });
  } catch (cause) {
    throwIfAborted(signal);
    if (cause instanceof BitnetError) {
      throw cause;
    }
    const why = stalled.signal.aborted ? "no answer" : describeFailure(cause);
    throw new TransientError(`cannot reach ${url.host} (${why})`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** What codes of the system and of the HTTP client mean. */
const failures = new Map([
  ["ECONNREFUSED", "connection refused"],
  ["ECONNRESET", "the connection was reset"],
  ["EPIPE", "the connection was closed"],
  ["ENOTFOUND", "no server of that name"],
  ["EAI_AGAIN", "names cannot be looked up: is there a network?"],
  ["ENETUNREACH", "there is no network"],
  ["ENETDOWN", "there is no network"],
  ["EHOSTUNREACH", "there is no way to it"],
  ["ETIMEDOUT", "no answer"],
  ["UND_ERR_CONNECT_TIMEOUT", "no answer"],
  ["UND_ERR_HEADERS_TIMEOUT", "no answer"],
  ["UND_ERR_BODY_TIMEOUT", "no more data"],
  ["UND_ERR_SOCKET", "the connection was closed"],
  ["UND_ERR_RESPONSE_STATUS_CODE", "an unexpected answer"],
  ["CERT_HAS_EXPIRED", "its certificate has expired"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "its certificate is signed by itself"],
  ["SELF_SIGNED_CERT_IN_CHAIN", "its certificate is signed by nobody known: see NODE_EXTRA_CA_CERTS"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "its certificate is signed by nobody known: see NODE_EXTRA_CA_CERTS"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "its certificate is signed by nobody known: see NODE_EXTRA_CA_CERTS"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "its certificate is for another name"],
]);

/** The innermost cause in words, as fetch itself only says "fetch failed"; else its message or code. */
export function describeFailure(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) {
    inner = inner.cause;
  }
  const { code, message } = inner as { code?: unknown; message?: unknown };
  return failures.get(String(code)) ?? (message ? String(message) : String(code));
}

function describeStatus(status: number): string {
  return status === 429 ? "too many requests" : status >= 500 ? "the server failed" : "the server was not ready";
}

/** Milliseconds of a Retry-After header, which holds seconds or a date. */
export function readRetryAfter(header: string | null, now = Date.now()): number | undefined {
  if (header === null) {
    return undefined;
  }
  const ms = /^\s*\d+\s*$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

// What the hub says in X-Error-Code decides; without a token it answers 401 for what does not exist, too.
function refusedError(hub: Hub, response: Response, { subject, repo }: HubRequest): BitnetError {
  const { endpoint, token, tokenSource } = hub.environment;
  const page = `${endpoint}/${repo}`;
  const code = response.headers.get("x-error-code") ?? "";
  const { status } = response;
  if (code === "GatedRepo") {
    return token === undefined
      ? new BitnetError("NETWORK", `${repo} is gated: its licence has to be accepted first`, {
          hint: `accept it at ${page}, then set HF_TOKEN to a token of ${endpoint}/settings/tokens`,
        })
      : new BitnetError("NETWORK", `${repo} is gated, and the token in ${tokenSource} has no access to it`, {
          hint: `accept its licence at ${page} with the token's account; a fine-grained token also needs the right to read gated repositories`,
        });
  }
  if (status === 401 && token !== undefined && code !== "RepoNotFound") {
    return new BitnetError("NETWORK", `the hub does not accept the token in ${tokenSource} (401)`, {
      hint: `make a new one at ${endpoint}/settings/tokens, or unset it for a public model`,
    });
  }
  if (code === "RevisionNotFound") {
    return new BitnetError("NOT_FOUND", `${repo} has no such revision: ${subject}`, {
      hint: `see ${page}/tree/main for its branches and tags`,
    });
  }
  if (code === "EntryNotFound") {
    return new BitnetError("NOT_FOUND", `${subject} is not in the repository`, { hint: `see ${page}/tree/main` });
  }
  if (status === 404 || (status === 401 && token === undefined) || code === "RepoNotFound") {
    return new BitnetError("NOT_FOUND", `there is no repository ${repo} on ${endpoint}, or it is private (${status})`, {
      hint:
        token === undefined
          ? "check the name; for a private repository set HF_TOKEN to a token that may read it"
          : `check the name, and that the token in ${tokenSource} may read it`,
    });
  }
  if (status === 403) {
    return new BitnetError("NETWORK", `the hub refuses access to ${subject} (403)`, {
      hint:
        token === undefined
          ? `see ${page}; it may need HF_TOKEN`
          : `the token in ${tokenSource} may not read it; check its rights at ${endpoint}/settings/tokens`,
    });
  }
  return new BitnetError("NETWORK", `${subject}: the hub answered ${status}`, { hint: `see ${page}` });
}
