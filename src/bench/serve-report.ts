// A report of `bitnet bench serve` as text for files and programs, and the words that its tables share.

import { formatMachine, type Machine } from "../native/machine.js";
import { stringifyJson } from "../system/write-json.js";
import type { Quantiles } from "./distribution.js";
import { type Format, formatSpeed, type SqlTypes, toCsv, toMarkdown, toSql } from "./report.js";
import { nameLoad, type ServeReport } from "./serve.js";
import type { ServeResult } from "./serve-result.js";

/** The machine is the one that the load came from. */
export interface MachineServeReport extends ServeReport {
  machine: Machine;
}

const sqlTypes: SqlTypes = {
  text: ["version", "cpu", "server", "model", "endpoint", "load", "errors", "started_at"],
  integer: ["prompt", "answer", "streams", "overload", "requests", "ok", "unsent", "rss_bytes", "rss_before_bytes"],
};

export function formatServeReport(report: MachineServeReport, format: Format): string {
  const { results, machine } = report;
  switch (format) {
    case "json":
      return `${stringifyJson(report, 2)}\n`;
    case "jsonl":
      return results.map((result) => `${stringifyJson({ ...result, machine })}\n`).join("");
    case "csv":
      return toCsv(listRows(report));
    case "sql":
      return toSql("bitnet_serving", listRows(report), sqlTypes);
    case "md":
      return formatMarkdown(report);
  }
}

export function modelOf({ servers }: ServeReport, { server }: ServeResult): string {
  return servers.find(({ url }) => url === server)?.model ?? "";
}

/** "a.gguf", or "a.gguf, b.gguf" where servers differ. */
export function answeredModels({ servers }: ServeReport): string {
  return [...new Set(servers.map(({ model }) => model))].join(", ");
}

function listRows(report: MachineServeReport) {
  return report.results.map((result) => {
    const { load, outcomes, memory } = result;
    return {
      version: report.machine.version,
      cpu: report.machine.cpu,
      server: result.server,
      model: modelOf(report, result),
      endpoint: report.endpoint,
      load: load.kind,
      streams: load.kind === "closed" ? load.streams : undefined,
      rate: load.kind === "open" ? load.rate : undefined,
      overload: result.isOverload ? 1 : 0,
      prompt: result.prompt,
      answer: report.answer,
      prompt_tokens: result.promptTokens,
      cached_tokens: result.cachedTokens,
      answer_tokens: result.answerTokens,
      requests: result.requests,
      ok: outcomes.ok ?? 0,
      errors: listErrors(result).join("; "),
      unsent: result.unsent,
      tokens_per_second: result.tokensPerSecond.median,
      min_tokens_per_second: result.tokensPerSecond.min,
      max_tokens_per_second: result.tokensPerSecond.max,
      stream_tokens_per_second: result.streamTokensPerSecond,
      answers_per_second: result.answersPerSecond.median,
      goodput_per_second: result.goodput.perSecond,
      goodput_share: result.goodput.share,
      ...columnsOf("ttft_ms", result.timeToFirstToken),
      ...columnsOf("itl_ms", result.interTokenLatency),
      ...columnsOf("request_ms", result.requestTime),
      ...columnsOf("refusal_ms", result.refusalTime),
      rss_bytes: memory?.most,
      rss_before_bytes: memory?.before,
      started_at: report.startedAt,
    };
  });
}

function columnsOf(name: string, quantiles: Quantiles | null): Record<string, number | undefined> {
  const { p50, p95, p99, max } = quantiles ?? {};
  return { [`${name}_p50`]: p50, [`${name}_p95`]: p95, [`${name}_p99`]: p99, [`${name}_max`]: max };
}

function formatMarkdown(report: MachineServeReport): string {
  const header = ["server", "prompt", "load", "tokens/s", "per stream", ...timeHeaders, "good", "errors", "RSS"];
  const rows = report.results.map((result) => [
    result.server,
    String(result.prompt),
    nameLoad(result.load),
    ...listCells(result),
    String(countErrors(result)),
    formatMemory(result),
  ]);
  const numeric = new Set(header.keys());
  numeric.delete(0);
  numeric.delete(2);
  const errors = report.results.flatMap((result) =>
    listErrors(result).map((text) => `${result.server}, ${nameLoad(result.load)}: ${text}`),
  );
  const remarks = [...errors, ...listServeRemarks(report)].map((remark) => `${remark}\n`);
  return `${formatMachine(report.machine)}\n\n${toMarkdown([header, ...rows], numeric)}\n${remarks.join("")}`;
}

export const timeHeaders = ["TTFT p50", "p95", "p99", "ITL p50", "p95", "p99"] as const;

/** Speed of all, of one stream, the times, and the share of good answers. */
export function listCells({
  tokensPerSecond,
  streamTokensPerSecond,
  timeToFirstToken: first,
  interTokenLatency: between,
  goodput,
}: ServeResult): string[] {
  return [
    formatSpeed(tokensPerSecond.median),
    streamTokensPerSecond === null ? "-" : formatSpeed(streamTokensPerSecond),
    ...[first?.p50, first?.p95, first?.p99, between?.p50, between?.p95, between?.p99].map(formatMs),
    `${Math.floor(goodput.share * 100)} %`,
  ];
}

/** "850 ms", "12.4 s"; "-" for none. */
export function formatMs(ms: number | undefined): string {
  if (ms === undefined) {
    return "-";
  }
  if (ms >= 9995) {
    return `${(ms / 1000).toFixed(1)} s`;
  }
  return ms >= 999.5 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(ms < 9.95 ? 1 : 0)} ms`;
}

/** The most that the server took in the rounds of the load. */
export function formatMemory({ memory }: ServeResult): string {
  return memory === null ? "-" : `${(memory.most / 2 ** 20).toFixed(0)} MiB`;
}

export function countErrors({ requests, outcomes }: ServeResult): number {
  return requests - (outcomes.ok ?? 0);
}

/** "429: 12 (the queue is full)" of each kind. */
export function listErrors({ outcomes, reasons }: ServeResult): string[] {
  return Object.entries(outcomes)
    .filter(([outcome]) => outcome !== "ok")
    .map(([outcome, count]) => `${outcome}: ${count}${reasons[outcome] ? ` (${reasons[outcome]})` : ""}`);
}

export function listServeRemarks(report: ServeReport): string[] {
  const { answer, endpoint, samePrompt, goodput, durationMs, servers } = report;
  const prompts = samePrompt ? "one prompt for all requests of a test" : "a new prompt each time";
  const remarks = [
    `${endpoint}, answers of ${answer} tokens, ${prompts}; rounds of ${durationMs / 1000} s, speeds are medians of them.`,
    `Good: the first token within ${formatMs(goodput.firstMs)}, then one each ${formatMs(goodput.betweenMs)} on average.`,
  ];
  const counted = report.results.filter(({ promptTokens }) => promptTokens !== null);
  for (const { url, tokensPerWord } of servers) {
    const own = counted.filter(({ server }) => server === url);
    const lengths = [...new Map(own.map(({ prompt, promptTokens }) => [prompt, Math.round(promptTokens ?? 0)]))];
    const told = lengths.map(([prompt, tokens]) => `${tokens} for ${prompt}`).join(", ");
    if (tokensPerWord === null) {
      remarks.push(`${url} has no /tokenize: lengths of prompts are estimates${told === "" ? "" : ` (${told})`}.`);
    } else if (told !== "") {
      remarks.push(`${url} counts prompts with their template: ${told} tokens.`);
    }
  }
  if (report.isPartial) {
    remarks.push("Stopped before the end: this is what was measured until then.");
  }
  return remarks;
}
