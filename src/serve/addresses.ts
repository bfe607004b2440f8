// Addresses: which are of this machine, and the clients that are known by nothing else.

import { isIPv4, isIPv6 } from "node:net";
import type { Client, Scope } from "./request.js";

export const allScopes: readonly Scope[] = ["chat", "admin", "metrics"];

/** The client behind an address; undefined is a socket of this machine. */
export function addressClient(address: string | undefined): Client {
  const scopes: readonly Scope[] = isLoopback(address) ? allScopes : ["chat", "metrics"];
  return { id: `address:${prefixOf(address ?? "local")}`, salt: "", weight: 1, scopes: new Set(scopes) };
}

export function isLoopback(address: string | undefined): boolean {
  const v4 = address?.replace(/^::ffff:/i, "");
  return v4 === undefined || v4 === "" || v4 === "::1" || (isIPv4(v4) && v4.startsWith("127."));
}

/** A name or address that only this machine can reach; never a name that merely begins like one. */
export function isLocalName(host: string): boolean {
  return (
    host === "localhost" || host.endsWith(".localhost") || (host !== "" && isLoopback(host.replace(/^\[|\]$/g, "")))
  );
}

/** Addresses that one machine can choose freely are one: the first half of an IPv6 address. */
export function prefixOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined || !isIPv6(address)) {
    return mapped ?? address;
  }
  const [head = "", tail] = address.replace(/%.*$/, "").split("::");
  const groups = head === "" ? [] : head.split(":");
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === "" ? 0 : tail.split(":").length);
  const whole = [...groups, ...Array(Math.max(0, missing)).fill("0"), ...(tail ? tail.split(":") : [])];
  return `${whole
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::`;
}
