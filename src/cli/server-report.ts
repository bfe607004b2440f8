// What a running server tells its operators.

import { BitnetError, reasonOf } from "../system/errors.js";

export interface ServerReport {
  stats: Readonly<Record<string, number | string>>;
  summary: Readonly<Record<string, unknown>>;
  alerts: readonly { type: string; severity: string; message: string; begin: string; end: string | null }[];
}

const timeout = 10_000; // ms

export async function fetchAdmin<T>(url: string, path: string, apiKey?: string): Promise<T> {
  const address = addressOf(url, path);
  let answer: Response;
  try {
    answer = await fetch(address, {
      headers: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` },
      signal: AbortSignal.timeout(timeout),
    });
  } catch (error) {
    const { cause } = error as { cause?: unknown };
    throw new BitnetError("NETWORK", `${url}: no answer: ${reasonOf(cause ?? error)}`, {
      hint: "start a server with bitnet serve, or give the address of a running one",
      cause: error,
    });
  }
  if (answer.status === 401 || answer.status === 403) {
    throw new BitnetError("USAGE", `${url}: the server wants a key with the scope admin`, {
      hint: "give it with --api-key, or in BITNET_API_KEY",
    });
  }
  if (!answer.ok) {
    throw new BitnetError("NETWORK", `${url}: /admin/${path}: status ${answer.status}`, {
      hint: "is this a server of bitnet serve, and the address without /v1?",
    });
  }
  return (await answer.json()) as T;
}

function addressOf(url: string, path: string): URL {
  try {
    const base = new URL(/^https?:\/\//.test(url) ? url : `http://${url}`);
    base.pathname = `${base.pathname.replace(/\/+$/, "").replace(/\/v1$/, "")}/admin/`;
    return new URL(path, base);
  } catch (error) {
    throw new BitnetError("USAGE", `expected the address of a server, like http://127.0.0.1:8080, got ${url}`, {
      cause: error,
    });
  }
}
