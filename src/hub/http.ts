// Requests to the hub: the token, redirects, retries, and errors that say what to do.
//
// The token goes to the hub's own address only. Large files answer with a redirect to a storage host (this holds for
// files stored through Xet too, as long as no Xet media type is asked for); that host gets a signed address instead,
// which is as secret as the token: no message shows the query of an address.

import { BitnetError, throwIfAborted } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { type HubEnvironment, readHubEnvironment } from "./environment.js";
import { certificateFailure, describeFailure } from "./failures.js";
import { createProxyFetch, ProxyError } from "./proxy.js";
import { refusedError, storageRefusedError } from "./refusals.js";
import {
  defaultRetry,
  type HubRetry,
  type RetryPolicy,
  readRateLimit,
  readRetryAfter,
  retrying,
  TransientError,
} from "./retry.js";

export interface Hub {
  readonly environment: HubEnvironment;
  readonly retry: RetryPolicy;
  readonly fetch: typeof fetch;
  /** Told what is worth a line in a log: fallbacks, and retries where nobody takes them. */
  readonly onNote: (text: string) => void;
  /** Told of each retry, before its pause. */
  readonly onRetry?: (retry: HubRetry) => void;
  /** Until when the hub has asked everybody to wait, in ms since 1970. */
  readonly limit: { until: number };
}

export interface HubOptions {
  /** Default: read from the process's environment. */
  environment?: HubEnvironment;
  /** Default: Node's, through the proxy of the environment. */
  fetch?: typeof fetch;
  retry?: Partial<RetryPolicy>;
  onNote?: (text: string) => void;
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
  const stallMs = environment.downloadTimeoutMs ?? defaultRetry.stallMs;
  return {
    environment,
    retry: { ...defaultRetry, stallMs, ...options.retry },
    fetch: options.fetch ?? createProxyFetch(),
    onNote: options.onNote ?? (() => {}),
    onRetry: options.onRetry,
    limit: { until: 0 },
  };
}

export interface HubRequest {
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** What is asked for, for messages: "owner/name" or "owner/name/file". */
  subject: string;
  /** The repository the request belongs to, for messages: its path on the hub. */
  repo: string;
  /** A status that the caller understands, beside the successful ones. */
  expectedStatus?: number;
}

/** The address of a file's contents; `repo` is the path of the repository on the hub. */
export function contentsUrl(hub: Hub, repo: string, commit: string, path: string): string {
  return `${hub.environment.endpoint}/${repo}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/** The successful response to a GET, after redirects and retries. */
export async function requestHub(hub: Hub, url: string, request: HubRequest): Promise<Response> {
  return retrying(hub, request, () => requestOnce(hub, url, request));
}

/** One attempt. Throws TransientError for what may pass. */
export async function requestOnce(hub: Hub, url: string, request: HubRequest): Promise<Response> {
  const { response, from } = await followRedirects(hub, url, request);
  if (response.ok || response.status === request.expectedStatus) {
    return response;
  }
  await response.body?.cancel().catch(() => {});
  throw failureOf(hub, response, from, request);
}

const passingStatuses = [408, 425, 429, 500, 502, 503, 504];
const staleStatuses = [400, 401, 403, 404, 410]; // what storage hosts say of a signed address that is too old
const staleAttempts = 3; // each asks the hub for a new address

function failureOf(hub: Hub, response: Response, from: URL, request: HubRequest): Error {
  const { status, headers } = response;
  if (passingStatuses.includes(status)) {
    const retryAfterMs = readRetryAfter(headers.get("retry-after")) ?? askedByLimit(response);
    return new TransientError(`${describeStatus(status)} (${status})`, { retryAfterMs, isLimit: status === 429 });
  }
  const isElsewhere = from.origin !== new URL(hub.environment.endpoint).origin && !headers.has("x-error-code");
  if (isElsewhere && staleStatuses.includes(status)) {
    const final = storageRefusedError(from, status, request);
    return new TransientError(`${from.host} answered ${status}`, { attempts: staleAttempts, final });
  }
  return refusedError(hub.environment, response, request);
}

function askedByLimit({ status, headers }: Response): number | undefined {
  return status === 429 ? readRateLimit(headers.get("ratelimit")) : undefined;
}

function describeStatus(status: number): string {
  return status === 429 ? "too many requests" : status >= 500 ? "the server failed" : "the server was not ready";
}

const maxRedirects = 10;

/** The answer at the end of the redirects, and where it came from. */
async function followRedirects(
  hub: Hub,
  start: string,
  request: HubRequest,
): Promise<{ response: Response; from: URL }> {
  const home = new URL(hub.environment.endpoint);
  let url = new URL(start);
  for (let hops = 0; hops <= maxRedirects; hops++) {
    const response = await sendRequest(hub, url, home, request);
    const location = response.headers.get("location");
    if (![301, 302, 303, 307, 308].includes(response.status) || location === null) {
      return { response, from: url };
    }
    await response.body?.cancel().catch(() => {});
    const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
    if (next === undefined || (next.protocol !== "https:" && next.protocol !== home.protocol)) {
      throw redirectError(request, "the hub redirects to an address that is not safe");
    }
    url = next;
  }
  throw redirectError(request, `more than ${maxRedirects} redirects`);
}

function redirectError({ subject }: HubRequest, what: string): BitnetError {
  return new BitnetError("NETWORK", `${subject}: ${what}`, {
    hint: "check HF_ENDPOINT and the proxy: something else may have answered",
    cause: what,
  });
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
    if (stalled.signal.aborted) {
      throw new TransientError(`cannot reach ${url.host} (no answer)`, { cause });
    }
    throw connectionError(url, cause);
  } finally {
    clearTimeout(timer);
  }
}

function connectionError(url: URL, cause: unknown): Error {
  const certificate = certificateFailure(cause);
  if (certificate !== undefined) {
    return new BitnetError("NETWORK", `the certificate of ${url.host} is not trusted: ${certificate}`, {
      hint: "where a company's proxy reads along, set NODE_EXTRA_CA_CERTS to the file of its certificate; else check the clock",
      cause,
    });
  }
  if (!(cause instanceof ProxyError)) {
    return new TransientError(`cannot reach ${url.host} (${describeFailure(cause)})`, { cause });
  }
  const { status, message, hint } = cause;
  return status === undefined || passingStatuses.includes(status)
    ? new TransientError(message, { hint, cause })
    : new BitnetError("NETWORK", message, { hint, cause });
}
