// One round of load on one server: so many streams that each send their next request when the last one was answered (closed
// loop), or requests at random moments whatever the answers do (open loop, Poisson arrivals).

import { Distribution } from "./distribution.js";
import type { Random } from "./random.js";
import type { LoadClient, Sample } from "./serve-client.js";
import type { Clock } from "./serve-clock.js";

/** Either so many streams, or so many requests a second. */
export type Load = { kind: "closed"; streams: number } | { kind: "open"; rate: number };

/** What an answer may take and still be a good one. */
export interface GoodputLimits {
  firstMs: number;
  /** On average over its answer. */
  betweenMs: number;
}

export interface Round {
  client: LoadClient;
  path: string;
  makeBody: () => object;
  load: Load;
  durationMs: number;
  timeoutMs: number;
  random: Random;
  clock: Clock;
  signal: AbortSignal;
}

/** Requests of an open loop that may be unanswered at once; more are not sent, and counted. */
const mostInFlight = 4096;

/** After a refusal a stream waits so long, as clients do: else it would measure how fast it can be refused. */
const pauseMs = 100;

/** What all rounds of one kind of load on one server have shown. */
export class Tally {
  readonly firstMs = new Distribution();
  readonly betweenMs = new Distribution();
  readonly requestMs = new Distribution();
  readonly rejectMs = new Distribution();
  readonly promptTokens = new Distribution();
  readonly cachedTokens = new Distribution();
  readonly answerTokens = new Distribution();
  readonly outcomes = new Map<string, number>();
  /** The first reason of each outcome. */
  readonly reasons = new Map<string, string>();
  /** Of each round: tokens, answers and good answers per second of its window. */
  readonly rounds: { seconds: number; tokens: number; answers: number; good: number }[] = [];
  good = 0;
  unsent = 0;
  /** Tokens after the first ones, and the time that they took. */
  decodedTokens = 0;
  decodeMs = 0;
  readonly #goodput: GoodputLimits;

  constructor(goodput: GoodputLimits) {
    this.#goodput = goodput;
  }

  get requests(): number {
    return [...this.outcomes.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Adds what is known of a request at its end; returns whether it was a good one. */
  add(sample: Sample): boolean {
    const { outcome, reason, beganMs, endMs, firstMs, lastMs, tokens } = sample;
    if (outcome === "stopped") {
      return false; // by us: it tells nothing of the server
    }
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    if (outcome !== "ok") {
      if (reason !== undefined && !this.reasons.has(outcome)) {
        this.reasons.set(outcome, reason);
      }
      if (/^\d+$/.test(outcome)) {
        this.rejectMs.add(endMs - beganMs);
      }
      return false;
    }
    const first = (firstMs ?? endMs) - beganMs;
    const decode = firstMs === undefined || lastMs === undefined ? 0 : lastMs - firstMs;
    this.firstMs.add(first);
    this.requestMs.add(endMs - beganMs);
    this.answerTokens.add(tokens);
    this.#addCount(this.promptTokens, sample.promptTokens);
    this.#addCount(this.cachedTokens, sample.cachedTokens);
    this.decodedTokens += Math.max(0, tokens - 1);
    this.decodeMs += decode;
    const isGood = first <= this.#goodput.firstMs && decode <= this.#goodput.betweenMs * Math.max(1, tokens - 1);
    this.good += isGood ? 1 : 0;
    return isGood;
  }

  #addCount(distribution: Distribution, count: number | undefined): void {
    if (count !== undefined) {
      distribution.add(count);
    }
  }
}

/**
 * Loads the server and adds to `tally`. Speeds are those of a window that begins with the round and ends when its duration
 * is over and every stream has had an answer. No request begins after it; those that run then are waited for, since the
 * slow ones among them belong to the latencies.
 */
export async function runRound(round: Round, tally: Tally): Promise<void> {
  const window = new Window(round, tally);
  const { load } = round;
  if (load.kind === "closed") {
    await Promise.all(Array.from({ length: load.streams }, () => runStream(window, round)));
  } else {
    await runArrivals(window, round, load.rate, tally);
  }
  window.finish();
}

/** Moments in milliseconds at which requests begin: gaps are exponential, so that arrivals do not know each other. */
export function* arrivalTimes(rate: number, durationMs: number, random: Random): Generator<number> {
  const gap = () => (-Math.log(1 - random.next()) / rate) * 1000;
  for (let time = gap(); time < durationMs; time += gap()) {
    yield time;
  }
}

async function runStream(window: Window, { clock, signal }: Round): Promise<void> {
  while (window.isOpen && !signal.aborted) {
    const isAnswered = await window.request();
    if (!isAnswered && window.isOpen) {
      await clock.sleep(pauseMs, signal);
    }
  }
}

async function runArrivals(window: Window, round: Round, rate: number, tally: Tally): Promise<void> {
  const { clock, durationMs, random, signal } = round;
  const began = clock.now();
  const running = new Set<Promise<boolean>>();
  const waitUntil = (time: number) => clock.sleep(Math.max(0, began + time - clock.now()), signal);
  for (const time of arrivalTimes(rate, durationMs, random)) {
    await waitUntil(time);
    if (signal.aborted) {
      break;
    }
    if (running.size >= mostInFlight) {
      tally.unsent++;
      continue;
    }
    const request: Promise<boolean> = window.request().finally(() => running.delete(request));
    running.add(request);
  }
  await waitUntil(durationMs);
  window.update();
  await Promise.all(running);
}

/** The part of a round that speeds are measured over. */
class Window {
  readonly #round: Round;
  readonly #tally: Tally;
  readonly #beganMs: number;
  /** Requests that must have ended before it closes; of a closed loop the first one of each stream. */
  #missing: number;
  #closedMs?: number;
  #tokens = 0;
  #answers = 0;
  #good = 0;

  constructor(round: Round, tally: Tally) {
    this.#round = round;
    this.#tally = tally;
    this.#beganMs = round.clock.now();
    this.#missing = round.load.kind === "closed" ? round.load.streams : 0;
  }

  get isOpen(): boolean {
    return this.#closedMs === undefined;
  }

  /** Sends one request and waits for its end; whether it was answered. */
  async request(): Promise<boolean> {
    const { client, path, makeBody, signal, timeoutMs } = this.#round;
    let inside = 0; // events within the window
    const onText = (_: number, gapMs: number | undefined) => {
      inside += this.isOpen ? 1 : 0;
      if (gapMs !== undefined && this.isOpen) {
        this.#tally.betweenMs.add(gapMs);
      }
    };
    const sample = await client.stream({ path, body: makeBody(), signal, timeoutMs, onText });
    const isGood = this.#tally.add(sample);
    this.#tokens += sample.events > 0 ? (sample.tokens * inside) / sample.events : 0;
    if (this.isOpen && sample.outcome === "ok") {
      this.#answers++;
      this.#good += isGood ? 1 : 0;
    }
    this.#missing--;
    this.update();
    return sample.outcome === "ok";
  }

  /** Closes the window if its time has come. */
  update(): void {
    const now = this.#round.clock.now();
    if (this.isOpen && this.#missing <= 0 && now - this.#beganMs >= this.#round.durationMs) {
      this.#closedMs = now;
    }
  }

  /** Adds the round to the tally: what of the last tokens fell into the window is known only at their end. */
  finish(): void {
    const seconds = ((this.#closedMs ?? this.#round.clock.now()) - this.#beganMs) / 1000;
    if (seconds > 0) {
      const [tokens, answers, good] = [this.#tokens, this.#answers, this.#good].map((count) => count / seconds);
      this.#tally.rounds.push({ seconds, tokens: tokens ?? 0, answers: answers ?? 0, good: good ?? 0 });
    }
  }
}
