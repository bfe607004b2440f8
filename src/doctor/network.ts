// How the hub would be reached. Nothing is asked of the network unless that is wanted.

import { type HubEnvironment, readHubEnvironment } from "../hub/environment.js";
import { describeFailure } from "../hub/failures.js";
import { createProxyFetch, ProxyError, proxyFor } from "../hub/proxy.js";
import { throwIfAborted } from "../system/errors.js";
import { type Advice, adviceOf, type Context, type Finding, findingOf } from "./check.js";

export interface NetworkFacts {
  endpoint: string | null;
  /** Where the token comes from; its value is nowhere. */
  tokenSource: string | null;
  offline: boolean;
  /** The host of the proxy for the hub, without user and password. */
  proxy: string | null;
  /** Variables of proxies that are set. */
  proxyVariables: string[];
  /** Only where it was asked for. */
  online: { reached: boolean; milliseconds: number; reason: string | null } | null;
}

const proxyNames = ["https_proxy", "http_proxy", "all_proxy", "no_proxy"];
const longestMs = 10_000;

export async function checkNetwork(context: Context): Promise<Finding<NetworkFacts>> {
  const { env } = context;
  const proxyVariables = proxyNames.flatMap((name) => [name, name.toUpperCase()]).filter((name) => env[name]);
  let hub: HubEnvironment;
  try {
    hub = await readHubEnvironment(env);
  } catch (error) {
    const facts = { endpoint: null, tokenSource: null, offline: false, proxy: null, proxyVariables, online: null };
    return findingOf(facts, [adviceOf(error)]);
  }
  const proxy = proxyFor(new URL(hub.endpoint), env);
  const host = proxy === undefined ? null : hostOf(proxy);
  const facts: NetworkFacts = {
    ...{ endpoint: hub.endpoint, tokenSource: hub.tokenSource ?? null, offline: hub.offline },
    ...{ proxy: host, proxyVariables },
    online: context.online ? await reach(hub, context) : null,
  };
  return findingOf(facts, adviseNetwork(facts, proxy !== undefined && host === null));
}

/** null: no address, which is not quoted, as it may hold a password. */
function hostOf(proxy: string): string | null {
  const address = proxy.includes("://") ? proxy : `http://${proxy}`;
  return URL.canParse(address) ? new URL(address).host : null;
}

async function reach(hub: HubEnvironment, { env, signal, onStep }: Context): Promise<NetworkFacts["online"]> {
  onStep("Asking the hub");
  const begun = performance.now();
  const took = () => Math.round(performance.now() - begun);
  try {
    const limit = AbortSignal.timeout(longestMs);
    const either = signal === undefined ? limit : AbortSignal.any([signal, limit]);
    const response = await createProxyFetch(env)(`${hub.endpoint}/api/models?limit=1`, { signal: either });
    await response.body?.cancel().catch(() => {});
    const reached = response.status < 500;
    return { reached, milliseconds: took(), reason: reached ? null : `it answered ${response.status}` };
  } catch (error) {
    throwIfAborted(signal);
    const isLate = error instanceof Error && error.name === "TimeoutError";
    const reason = isLate ? "no answer" : error instanceof ProxyError ? error.message : describeFailure(error);
    return { reached: false, milliseconds: took(), reason };
  }
}

function adviseNetwork({ endpoint, offline, online }: NetworkFacts, isBadProxy: boolean): Advice[] {
  const advice: Advice[] = [];
  if (isBadProxy) {
    advice.push({
      status: "problem",
      what: "the proxy for downloads is no address",
      next: "expected one like http://proxy.example:8080 in https_proxy",
    });
  }
  if (offline) {
    advice.push({ status: "note", what: "HF_HUB_OFFLINE is set: models come from the cache alone" });
  }
  if (online?.reached === false) {
    const next = "check the network and the proxy; models that are here run without it";
    advice.push({ status: "problem", what: `${endpoint} cannot be reached: ${online.reason}`, next });
  }
  return advice;
}
