// What was measured of one load on one server.

import type { Distribution, Quantiles } from "./distribution.js";
import type { MemoryUse } from "./serve-memory.js";
import type { Load, Tally } from "./serve-round.js";
import { type Summary, summarize } from "./stats.js";

export interface ServeResult {
  server: string;
  prompt: number; // tokens that were asked for
  load: Load;
  /** More than the server can do, on purpose. */
  isOverload: boolean;
  requests: number;
  /** How they ended: "ok", a status, "hung", "connection", "broken" or "stopped", and how many did. */
  outcomes: Record<string, number>;
  /** What the first one of each kind was told. */
  reasons: Record<string, string>;
  /** Requests that were not sent, as too many waited for an answer. */
  unsent: number;
  /** Seconds that the speeds of each round were measured over. */
  windows: number[];
  tokensPerSecond: Summary & { samples: number[] };
  answersPerSecond: Summary & { samples: number[] };
  /** Tokens per second that one stream gets once its answer has begun. */
  streamTokensPerSecond: number | null;
  goodput: { share: number; perSecond: number };
  /** Milliseconds until the first part of an answer, between its parts, until its end, and until a refusal. */
  timeToFirstToken: Quantiles | null;
  interTokenLatency: Quantiles | null;
  requestTime: Quantiles | null;
  refusalTime: Quantiles | null;
  /** Means, as the server counts. */
  promptTokens: number | null;
  cachedTokens: number | null;
  answerTokens: number | null;
  memory: MemoryUse | null;
}

type Described = Pick<ServeResult, "server" | "prompt" | "load" | "isOverload"> & { memory?: MemoryUse };

export function toResult({ memory, ...described }: Described, tally: Tally): ServeResult {
  const { rounds, requests } = tally;
  const summaryOf = (samples: number[]) => ({ ...summarize(samples.length > 0 ? samples : [0]), samples });
  const meanOf = (distribution: Distribution) => distribution.quantiles()?.mean ?? null;
  return {
    ...described,
    requests,
    outcomes: Object.fromEntries(tally.outcomes),
    reasons: Object.fromEntries(tally.reasons),
    unsent: tally.unsent,
    windows: rounds.map(({ seconds }) => seconds),
    tokensPerSecond: summaryOf(rounds.map(({ tokens }) => tokens)),
    answersPerSecond: summaryOf(rounds.map(({ answers }) => answers)),
    streamTokensPerSecond: tally.decodeMs > 0 ? (tally.decodedTokens / tally.decodeMs) * 1000 : null,
    goodput: {
      share: requests > 0 ? tally.good / requests : 0,
      perSecond: summaryOf(rounds.map(({ good }) => good)).median,
    },
    timeToFirstToken: tally.firstMs.quantiles() ?? null,
    interTokenLatency: tally.betweenMs.quantiles() ?? null,
    requestTime: tally.requestMs.quantiles() ?? null,
    refusalTime: tally.rejectMs.quantiles() ?? null,
    promptTokens: meanOf(tally.promptTokens),
    cachedTokens: meanOf(tally.cachedTokens),
    answerTokens: meanOf(tally.answerTokens),
    memory: memory ?? null,
  };
}
