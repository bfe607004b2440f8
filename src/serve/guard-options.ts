// How a server is guarded and watched. Where something is left out, the default stands below.

import type { Thresholds } from "./alerts.js";
import type { LogFormat } from "./log.js";

export interface GuardOptions {
  /** Keys that may be used for everything. Without these and `apiKeyFile` no key is needed. */
  apiKeys: readonly string[];
  /** Lines `KEY name=N scope=chat,admin,metrics rpm=N tpm=N weight=N`. */
  apiKeyFile?: string;
  /** Listen on addresses that others can reach though there is no key. */
  insecure: boolean;
  /** Values of Host, without a port, that are as good as a local name. */
  allowedHosts: readonly string[];
  /** Pages of these origins may ask; "*" for all. The server's own and those of this machine always may. */
  corsOrigins: readonly string[];
  /** Proxies in front, whose X-Forwarded-For is believed. */
  trustProxy: number;
  /** Connections of one address; 0: no limit. Not counted behind a proxy. */
  connectionsPerAddress: number;
  /** Seconds from the first byte of a request to the last one of its body. */
  bodyTimeout: number;
  /** Of one client in any 60 s; 0: no limit. */
  requestsPerMinute: number;
  tokensPerMinute: number;
  /** Where several servers count together: redis://HOST:PORT. */
  redis?: string;
  /** Of all texts of a prompt; 0: no limit. */
  maxInputChars: number;
  maxInputTokens: number;
  /** File of rules, or "strict" for the built-in ones. */
  contentFilter?: string;
  /** A module that exports check(). */
  contentFilterModule?: string;
}

export interface WatchOptions {
  /** JSON lines, one per request. */
  auditLog?: string;
  /** With the texts. */
  auditContent: boolean;
  /** Of the marks that stand for clients, and of signatures of alerts. */
  secretFile?: string;
  /** For the server's own log, and a line per request. */
  logFile?: string;
  logFormat: LogFormat;
  /** For answers that are found again; 0: none are. */
  responseCacheBytes: number;
  /** Also those that were sampled without a seed. */
  responseCacheAll: boolean;
  /** For /metrics without a key. */
  metricsPort?: number;
  /** Seconds between two readings; 0: none. */
  monitorInterval: number;
  /** What is too much, or too little. */
  alerts: Partial<Thresholds>;
  /** Told when an alert begins and ends. */
  alertWebhook?: string;
}

export const standardGuards: GuardOptions & WatchOptions = {
  apiKeys: [],
  insecure: false,
  allowedHosts: [],
  corsOrigins: [],
  trustProxy: 0,
  connectionsPerAddress: 64,
  bodyTimeout: 30,
  requestsPerMinute: 0,
  tokensPerMinute: 0,
  maxInputChars: 0,
  maxInputTokens: 0,
  auditContent: false,
  logFormat: "text",
  responseCacheBytes: 0,
  responseCacheAll: false,
  monitorInterval: 60,
  alerts: {},
};
