// What `bitnet doctor --report` prints: Markdown for a report about a fault, without what is nobody's business.

import { isIPv6 } from "node:net";
import { hostname, userInfo } from "node:os";
import { type CheckId, checks, type Diagnosis } from "../doctor/diagnose.js";
import { homeFolder, type Variables } from "../system/folders.js";
import { type Row, rowsOf } from "./doctor-rows.js";
import { oneLine } from "./terminal/format.js";

/** Values of these say nothing of anybody. */
const openVariables = new Set(["BITNET_KERNEL", "BITNET_LAYOUT", "NO_COLOR", "FORCE_COLOR", "TERM", "HF_HUB_OFFLINE"]);

export function formatReport(diagnosis: Diagnosis, secrets = findSecrets()): string {
  const sections = (Object.keys(checks) as CheckId[]).flatMap((id) => formatSection(id, diagnosis));
  const { problems, warnings } = diagnosis;
  const verdict = [...problems, ...warnings].map(({ status, what, next }, i) => {
    const text = next === undefined ? what : `${what}; ${next}`;
    return `${i + 1}. ${status}: ${oneLine(text)}`;
  });
  const lines = [
    "### bitnet doctor",
    "",
    ...sections,
    "**Verdict**",
    "",
    ...(verdict.length === 0 ? ["all right"] : verdict),
  ];
  return `${lines.map((line) => withoutSecrets(line, secrets)).join("\n")}\n`;
}

function formatSection(id: CheckId, diagnosis: Diagnosis): string[] {
  const rows = id === "settings" ? listVariables(diagnosis) : rowsOf(id, diagnosis).map(withoutHosts);
  if (rows.length === 0) {
    return [];
  }
  return [
    `**${checks[id].title}**`,
    "",
    ...rows.map(([label, text]) => `- ${label === "" ? "" : `${label}: `}${withoutMarks(text)}`),
    "",
  ];
}

/** Names of variables and of files alone. */
function listVariables({ checks: { settings } }: Diagnosis): Row[] {
  const names = (settings.facts?.variables ?? []).map(({ name, value }) =>
    openVariables.has(name) && value !== null ? `${name}=${value}` : name,
  );
  return [
    ["variables", names.join(", ") || "none of those that are read"],
    ["files of options", String(settings.facts?.files.length ?? 0)],
  ];
}

/** Proxies and a hub of one's own are named after companies. */
function withoutHosts([label, text]: Row): Row {
  if (label === "proxy") {
    return [label, text.startsWith("none") ? text : "one"];
  }
  return [
    label,
    label === "hub" && !text.startsWith("https://huggingface.co") ? text.replace(/^[^;,]*/, "one of its own") : text,
  ];
}

/** Marks of Markdown and HTML as they are. */
function withoutMarks(text: string): string {
  return oneLine(text).replace(/[\\`*_<>[\]]/g, "\\$&");
}

export interface Secrets {
  home: string | undefined;
  /** Names of the user, of the machine and of servers; tokens. */
  names: { text: string; instead: string }[];
}

const tokenName = /TOKEN|KEY|SECRET|PASSWORD/i;

export function findSecrets(env: Variables = process.env): Secrets {
  const names: Secrets["names"] = [];
  const add = (text: string | undefined, instead: string) => {
    if (text !== undefined && text.length >= 2 && !ordinaryNames.has(text)) {
      names.push({ text, instead });
    }
  };
  for (const [name, value] of Object.entries(env)) {
    if (tokenName.test(name) && value !== undefined && value.length >= 6) {
      add(value, "(secret)");
    }
  }
  for (const name of ["USER", "LOGNAME", "USERNAME"]) {
    add(env[name], "USER");
  }
  add(tryName(), "USER");
  addServers(env, add);
  const host = hostname();
  add(host, "HOST");
  add(host.split(".")[0], "HOST");
  for (const name of ["HOSTNAME", "COMPUTERNAME"]) {
    add(env[name], "HOST");
  }
  names.sort((a, b) => b.text.length - a.text.length);
  return { home: env.HOME || homeFolder(), names };
}

/** A hub of one's own and proxies, which messages name, too. */
function addServers(env: Variables, add: (text: string | undefined, instead: string) => void): void {
  for (const name of ["HF_ENDPOINT", "http_proxy", "https_proxy", "all_proxy"]) {
    for (const value of [env[name], env[name.toUpperCase()]]) {
      const address = value?.includes("://") ? value : `http://${value}`;
      if (value && URL.canParse(address)) {
        const { protocol, host, hostname: server, pathname } = new URL(address);
        if (server !== "huggingface.co") {
          const instead = name === "HF_ENDPOINT" ? "(hub)" : "(proxy)";
          add(`${protocol}//${host}${pathname.replace(/\/+$/, "")}`, instead);
          add(host, instead);
          add(server, instead);
        }
      }
    }
  }
}

/** Of half the world, and words of the page itself. */
const ordinaryNames = new Set(["root", "node", "user", "localhost", "bitnet"]);

function tryName(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    return undefined; // no such user
  }
}

export function withoutSecrets(text: string, { home, names }: Secrets): string {
  let out = text;
  if (home !== undefined && home !== "/" && home !== "") {
    out = replaceAll(out, home.replace(/[\\/]+$/, ""), "~", "(?=$|[\\\\/\\s,;:)])");
  }
  out = out
    .replace(/([a-z][a-z0-9+.-]*:\/\/)[^\s/@]+@/gi, "$1")
    .replace(/\bhf_[A-Za-z0-9]{6,}/g, "(secret)")
    .replace(/\b[\w.+-]+@[\w-]+\.[\w.-]+\b/g, "(mail)")
    .replace(/(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]\d)/g, "(address)")
    .replace(/(?<![\w:.])[0-9a-f:.]*:[0-9a-f:.]+(?![\w:])/gi, (found) => (isIPv6(found) ? "(address)" : found))
    .replace(/((?:^|[\s(,=])(?:\/home|\/Users|[A-Z]:\\+Users)[\\/]+)[^\\/\s,;)]+/g, "$1USER");
  return names.reduce((safe, { text: name, instead }) => replaceAll(safe, name, instead, "(?![A-Za-z0-9])"), out);
}

/** As a word of its own, in any case. */
function replaceAll(text: string, what: string, instead: string, after: string): string {
  const literal = what.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
  return text.replace(new RegExp(`(?<![A-Za-z0-9])${literal}${after}`, "gi"), instead);
}
