// The options of bitnet serve about who may ask, how much, and what is written down and watched.

import { InvalidArgumentError } from "commander";
import { type ThresholdName, type Thresholds, thresholdNames } from "../serve/alerts.js";
import { standardGuards } from "../serve/guard-options.js";
import type { OptionRows } from "./option-rows.js";
import { integerFrom, numberFrom } from "./parsers.js";

/** "a,b" and repeated: a list. */
export function collectList(text: string, earlier: readonly string[] = []): string[] {
  return [...earlier, ...text.split(",").map((part) => part.trim())].filter((part) => part !== "");
}

/** "memory=2048", "cpu=off", repeated or separated by commas. */
function collectAlerts(text: string, earlier: Partial<Thresholds> = {}): Partial<Thresholds> {
  const result = { ...earlier };
  for (const part of collectList(text)) {
    const [name, value = ""] = part.split("=", 2);
    const known = thresholdNames.find((each): each is ThresholdName => each === name);
    const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : undefined;
    if (known === undefined || (number === undefined && value !== "off")) {
      throw new InvalidArgumentError(`Expected NAME=NUMBER or NAME=off with ${thresholdNames.join(", ")}.`);
    }
    result[known] = number;
  }
  return result;
}

function parseOrigin(text: string, earlier: readonly string[] = []): string[] {
  return collectList(text, earlier).map((origin) => {
    if (origin !== "*" && !/^[a-z][a-z0-9+.-]*:\/\/[^/\s]+\/?$/i.test(origin)) {
      throw new InvalidArgumentError("Expected * or origins like https://chat.example.org.");
    }
    return origin.replace(/\/$/, "");
  });
}

const count = integerFrom(0);

export const securityRows = {
  apiKeys: {
    flags: "--api-key <keys>",
    help: "keys, any of which requests must have; they may do everything",
    parse: collectList,
  },
  apiKeyFile: {
    flags: "--api-key-file <file>",
    help: "lines of KEY name= scope=chat,admin,metrics rpm= tpm= weight=; SIGHUP reads it anew",
  },
  insecure: { flags: "--insecure", help: "listen where others can reach it, though there is no key" },
  allowedHosts: {
    flags: "--allowed-hosts <names>",
    help: "values of the Host header beside localhost and addresses of this machine",
    parse: collectList,
  },
  corsOrigins: {
    flags: "--cors-origins <origins>",
    help: "web pages that may ask, beside those of this machine; * for all",
    parse: parseOrigin,
  },
  trustProxy: {
    flags: "--trust-proxy <n>",
    help: "proxies in front, whose X-Forwarded-For tells the client's address",
    parse: integerFrom(0, 16),
    standard: standardGuards.trustProxy,
  },
  connectionsPerAddress: {
    flags: "--max-connections-per-address <n>",
    help: "connections that one address may hold; 0: no limit; not counted behind a proxy",
    parse: count,
    standard: standardGuards.connectionsPerAddress,
  },
  requestsPerMinute: {
    flags: "--requests-per-minute <n>",
    help: "requests of one client in any 60 s; 0: no limit",
    parse: count,
    standard: standardGuards.requestsPerMinute,
  },
  tokensPerMinute: {
    flags: "--tokens-per-minute <n>",
    help: "tokens of one client in any 60 s, read and written; 0: no limit",
    parse: count,
    standard: standardGuards.tokensPerMinute,
  },
  redis: { flags: "--redis <url>", help: "count these limits together with other servers: redis://HOST:PORT" },
  maxInputChars: {
    flags: "--max-input-chars <n>",
    help: "characters of a prompt at most; 0: no limit",
    parse: integerFrom(0),
    standard: standardGuards.maxInputChars,
  },
  maxInputTokens: {
    flags: "--max-input-tokens <n>",
    help: "tokens of a prompt at most; 0: what the context holds",
    parse: integerFrom(0),
    standard: standardGuards.maxInputTokens,
  },
  contentFilter: {
    flags: "--content-filter <file>",
    help: "JSON file of rules for prompts and answers; strict: the built-in rules",
  },
  contentFilterModule: {
    flags: "--content-filter-module <file>",
    help: "a JavaScript module whose check({ text, direction, client }) judges them",
  },
  auditLog: { flags: "--audit-log <file>", help: "write a JSON line for every request, without its texts" },
  auditContent: { flags: "--audit-content", help: "with its texts" },
  secretFile: {
    flags: "--secret-file <file>",
    help: "secret of the marks that stand for clients in the audit log, and of signatures of alerts",
  },
} as const satisfies OptionRows;

export const monitoringRows = {
  logFile: { flags: "--log-file <file>", help: "write the server's log there, with a line per request" },
  logFormat: {
    flags: "--log-format <format>",
    help: "how lines of the log look",
    choices: ["text", "json"],
    standard: standardGuards.logFormat,
  },
  metricsPort: {
    flags: "--metrics-port <n>",
    help: "offer /metrics there, too, without a key; 0: any that is free",
    parse: integerFrom(0, 65535),
  },
  monitorInterval: {
    flags: "--monitor-interval <s>",
    help: "seconds between readings for /admin/summary and alerts; 0: none",
    parse: numberFrom(0, 86_400),
    standard: standardGuards.monitorInterval,
  },
  alerts: {
    flags: "--alert <name=value>",
    help: `when readings are an alert, or off: ${thresholdNames.join(", ")} (default: what the server is not set up for, see docs/monitoring.md)`,
    parse: collectAlerts,
  },
  alertWebhook: { flags: "--alert-webhook <url>", help: "POST alerts there when they begin and end" },
  responseCacheMiB: {
    flags: "--response-cache <MiB>",
    help: "keep answers that would come out the same: temperature 0, or a seed; 0: none",
    parse: integerFrom(0, 2 ** 20),
    standard: 0,
  },
  responseCacheAll: { flags: "--response-cache-all", help: "also answers that are drawn anew each time" },
} as const satisfies OptionRows;
