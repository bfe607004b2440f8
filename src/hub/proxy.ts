// A fetch that goes through the proxies of https_proxy, http_proxy, all_proxy and no_proxy. Node's own does not.

import { BitnetError } from "../system/errors.js";

type Variables = Record<string, string | undefined>;

/** The proxy for `url`, if any. Lower case names win, as in curl. */
export function proxyFor(url: URL, env: Variables = process.env): string | undefined {
  const read = (name: string) => env[name] || env[name.toUpperCase()] || undefined;
  if (isExempt(url, read("no_proxy") ?? "")) {
    return undefined;
  }
  return (url.protocol === "https:" ? read("https_proxy") : read("http_proxy")) ?? read("all_proxy");
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

/** Node's fetch if no proxy is configured; undici is loaded only if one is. */
export function createProxyFetch(env: Variables = process.env): typeof fetch {
  const agents = new Map<string, unknown>();
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const proxy = proxyFor(url, env);
    if (proxy === undefined) {
      return fetch(input, init);
    }
    const undici = await import("undici");
    const agent = agents.get(proxy) ?? new undici.ProxyAgent(checkProxy(proxy));
    agents.set(proxy, agent);
    // undici's types and Node's describe the same objects under different names.
    const proxied = undici.fetch as unknown as (url: URL, init: unknown) => Promise<Response>;
    return proxied(url, { ...init, dispatcher: agent });
  };
}

function checkProxy(proxy: string): string {
  const address = proxy.includes("://") ? proxy : `http://${proxy}`;
  if (!URL.canParse(address) || !/^https?:/i.test(address)) {
    // Not quoted: it may hold a password.
    throw new BitnetError("UNSUPPORTED", "the proxy in https_proxy, http_proxy or all_proxy is not an HTTP proxy", {
      hint: "expected an address like http://proxy.example:8080",
    });
  }
  return address;
}
