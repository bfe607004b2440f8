// Rules on an answer while it comes: the last stretch of it is held back until a rule could no longer change it.

import { type FilterRules, type Match, replacementOf, withoutOverlaps } from "./filter-rules.js";
import type { AnswerPiece, FinishDetail, TextEvent, TextRequest, Timings, Usage } from "./request.js";

type DeltaEvent = Extract<TextEvent, { kind: "delta" }>;

export interface OutputChecks {
  /** A module's word about what is to be told next. */
  ask(text: string): Promise<{ text: string; blockedBy?: string }>;
  note(rule: string, action: string): void;
}

const heldBack = 256; // characters
const lookEvery = 64; // characters more, before the rules are tried again
const keptBefore = 16; // characters that were told, for patterns that ask whether a word begins

/** A stretch of the answer's text, and what it has become. */
interface Segment {
  event: DeltaEvent;
  piece: number;
  start: number;
  end: number;
  text: string;
  isChanged: boolean;
}

/** The events of a request with the rules' changes. A choice that a rule blocks ends there, with "content_filter". */
export async function* filterOutput(
  events: AsyncIterable<TextEvent>,
  request: TextRequest,
  rules: FilterRules,
  checks: OutputChecks,
): AsyncGenerator<TextEvent> {
  const choices = new Map<number, ChoiceFilter>();
  const choiceOf = (choice: number) => {
    const known = choices.get(choice) ?? new ChoiceFilter(rules, checks);
    choices.set(choice, known);
    return known;
  };
  const account = new Account();
  for await (const event of events) {
    account.count(event);
    if (event.kind !== "delta" && event.kind !== "finish") {
      yield event;
      continue;
    }
    const filter = choiceOf(event.choice);
    if (filter.isBlocked) {
      continue;
    }
    yield* event.kind === "delta" ? await filter.take(event) : await filter.finish();
    if (filter.isBlocked) {
      const detail: FinishDetail = { type: "filter", seed: seedOf(request, event), truncated: false };
      yield { kind: "finish", choice: event.choice, finish: "content_filter", detail };
      if (choices.size === request.n && [...choices.values()].every(({ isBlocked }) => isBlocked)) {
        yield account.end(); // nobody needs the rest
        return;
      }
    } else if (event.kind === "finish") {
      yield event;
    }
  }
}

function seedOf({ sampling }: TextRequest, event: TextEvent & { choice: number }): number {
  return event.kind === "finish" ? event.detail.seed : (sampling.seed ?? 0) + event.choice;
}

/** What a request that is ended early has cost. */
class Account {
  readonly #startedAt = performance.now();
  readonly #usage: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0, reasoningTokens: 0 };
  readonly #timings: Timings = { queueMs: 0, promptMs: 0, promptTokens: 0, generateMs: 0, generatedTokens: 0 };
  #firstAt: number | undefined;

  count(event: TextEvent): void {
    if (event.kind === "started") {
      const { promptTokens, cachedTokens, queueMs } = event;
      Object.assign(this.#usage, { promptTokens, cachedTokens });
      Object.assign(this.#timings, { queueMs, promptTokens: promptTokens - cachedTokens });
    } else if (event.kind === "delta") {
      this.#firstAt ??= performance.now();
      this.#usage.completionTokens += event.tokens.length;
      this.#timings.generatedTokens += event.tokens.length;
    }
  }

  end(): TextEvent {
    const firstAt = this.#firstAt ?? performance.now();
    this.#timings.promptMs = Math.max(0, firstAt - this.#startedAt - this.#timings.queueMs);
    this.#timings.generateMs = performance.now() - firstAt;
    return { kind: "end", usage: this.#usage, timings: this.#timings };
  }
}

/** One choice: its text with what is held back of it. */
class ChoiceFilter {
  readonly #rules: FilterRules;
  readonly #checks: OutputChecks;
  #events: DeltaEvent[] = [];
  #segments: Segment[] = [];
  #text = ""; // from `#base` on
  #base = 0;
  #end = 0; // of the text so far
  #told = 0; // what is before was told, or is in place of what was
  #looked = 0;
  isBlocked = false;

  constructor(rules: FilterRules, checks: OutputChecks) {
    this.#rules = rules;
    this.#checks = checks;
  }

  take(event: DeltaEvent): Promise<DeltaEvent[]> | DeltaEvent[] {
    this.#events.push(event);
    for (const [piece, { text }] of event.pieces.map(textOf).entries()) {
      const start = this.#end;
      this.#end += text.length;
      this.#text += text;
      this.#segments.push({ event, piece, start, end: this.#end, text, isChanged: false });
    }
    return this.#end - this.#looked < lookEvery || this.#end - this.#told <= heldBack ? [] : this.#look(false);
  }

  finish(): Promise<DeltaEvent[]> {
    return this.#look(true);
  }

  async #look(isEnd: boolean): Promise<DeltaEvent[]> {
    this.#looked = this.#end;
    const safe = isEnd ? this.#end : this.#end - heldBack;
    const matches = this.#match();
    const block = matches.filter(({ rule }) => rule.action === "block").sort((a, b) => a.start - b.start)[0];
    const until = block === undefined ? safe : block.start;
    const redacted = withoutOverlaps(matches.filter(({ rule }) => rule.action === "redact"));
    for (const match of redacted.filter(({ start }) => start < until)) {
      this.#replace(match.start, match.end, replacementOf(match.rule));
      this.#checks.note(match.rule.name, "redact");
    }
    for (const { rule } of matches.filter(({ rule, start }) => rule.action === "flag" && start < until)) {
      this.#checks.note(rule.name, "flag");
    }
    if (block !== undefined) {
      this.#checks.note(block.rule.name, "block");
      this.isBlocked = true;
    }
    return this.#askAbout(this.#release(until, isEnd && block === undefined));
  }

  #match(): Match[] {
    const matches = [...this.#rules.find(this.#text, "output", Math.max(0, this.#told - this.#base))];
    return matches.map(({ rule, start, end }) => ({ rule, start: start + this.#base, end: end + this.#base }));
  }

  /** The text from `start` to `end` becomes `replacement`. */
  #replace(start: number, end: number, replacement: string): void {
    let rest: string | undefined = replacement;
    this.#segments = this.#segments.flatMap((segment) => {
      if (segment.end <= start || segment.start >= end) {
        return [segment];
      }
      const parts = splitSegment(segment, start, end);
      return parts.map((part) => {
        if (part.start < start || part.start >= end) {
          return part;
        }
        const text = rest ?? "";
        rest = undefined;
        return { ...part, text, isChanged: true };
      });
    });
    this.#told = Math.max(this.#told, end);
  }

  /** The events whose text lies before `until`; at the end also those that have none. */
  #release(until: number, isAll: boolean): DeltaEvent[] {
    const whole: DeltaEvent[] = [];
    const changed = new Map<DeltaEvent, Segment[]>();
    for (const segment of this.#segments) {
      changed.set(segment.event, [...(changed.get(segment.event) ?? []), segment]);
    }
    let count = 0;
    for (const event of this.#events) {
      const segments = changed.get(event) ?? [];
      const last = segments.at(-1)?.end ?? (isAll ? 0 : this.#firstHeldEnd(event, changed));
      if (last > until && !isAll) {
        if (this.isBlocked && segments.some(({ start }) => start < until)) {
          whole.push(rebuild(event, cutSegments(segments, until), true));
        }
        break;
      }
      whole.push(rebuild(event, segments, false));
      count++;
    }
    const released = new Set(this.#events.splice(0, count));
    this.#segments = this.#segments.filter(({ event }) => !released.has(event));
    this.#told = Math.max(this.#told, Math.min(until, this.#segments[0]?.start ?? until));
    this.#forget();
    return whole;
  }

  /** An event without text goes with the next one that has some. */
  #firstHeldEnd(event: DeltaEvent, changed: ReadonlyMap<DeltaEvent, readonly Segment[]>): number {
    const following = this.#events.slice(this.#events.indexOf(event)).find((each) => changed.has(each));
    return following === undefined ? Number.POSITIVE_INFINITY : (changed.get(following)?.[0]?.end ?? 0);
  }

  #forget(): void {
    const from = Math.max(this.#base, this.#told - keptBefore);
    this.#text = this.#text.slice(from - this.#base);
    this.#base = from;
  }

  async #askAbout(events: DeltaEvent[]): Promise<DeltaEvent[]> {
    const text = events.flatMap(({ pieces }) => pieces.map((piece) => textOf(piece).text)).join("");
    const { text: passed, blockedBy } = await this.#checks.ask(text);
    if (blockedBy !== undefined) {
      this.isBlocked = true;
      return [];
    }
    const [first] = events;
    return passed === text || first === undefined
      ? events
      : [{ ...first, pieces: [{ kind: "text", text: passed }], tokens: [], logprobs: [] }];
  }
}

function textOf(piece: AnswerPiece): { text: string } {
  return piece.kind === "call" ? { text: piece.name } : piece;
}

function splitSegment(segment: Segment, start: number, end: number): Segment[] {
  const cuts = [start, end].filter((cut) => cut > segment.start && cut < segment.end);
  const bounds = [segment.start, ...cuts, segment.end];
  return bounds.slice(1).map((bound, i) => {
    const from = bounds[i] ?? segment.start;
    return {
      ...segment,
      start: from,
      end: bound,
      text: segment.text.slice(from - segment.start, bound - segment.start),
    };
  });
}

function cutSegments(segments: readonly Segment[], until: number): Segment[] {
  return segments
    .filter(({ start }) => start < until)
    .map((segment) => ({ ...segment, text: segment.text.slice(0, Math.max(0, until - segment.start)) }));
}

/** The event with what has become of its text. Tokens would tell what was taken out, so they go with it. */
function rebuild(event: DeltaEvent, segments: readonly Segment[], isCut: boolean): DeltaEvent {
  if (!isCut && !segments.some(({ isChanged }) => isChanged)) {
    return event;
  }
  const pieces = event.pieces.flatMap((piece, i): AnswerPiece[] => {
    const own = segments.filter((segment) => segment.piece === i);
    const text = own.map((segment) => segment.text).join("");
    if (piece.kind === "call") {
      return own.length === 0 ? [] : [{ ...piece, name: text }];
    }
    return text === "" ? [] : [{ ...piece, text }];
  });
  return { ...event, pieces, tokens: [], logprobs: [] };
}
