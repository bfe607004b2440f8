// What is written down about requests, and who is told.

import type { ApiError } from "./errors.js";
import type {
  AnswerFinish,
  Client,
  RunNotes,
  Scope,
  StageContext,
  TextEvent,
  TextRequest,
  Timings,
  Usage,
} from "./request.js";

/** One run of the model, while it goes on and at its end. Times in milliseconds. */
export interface TextRecord {
  readonly request: TextRequest;
  readonly client: Client;
  readonly requestId: string;
  readonly notes: RunNotes;
  readonly run: Readonly<StageContext>;
  /** Of a clock that only goes forward. */
  readonly startedAt: number;
  queueMs: number;
  firstTokenMs?: number;
  ms: number;
  usage: Usage;
  timings?: Timings;
  finishes: AnswerFinish[];
  /** What it failed with. */
  error?: ApiError;
  /** "left": nobody wanted the rest. */
  end: "running" | "complete" | "failed" | "left";
}

/** One request over HTTP, at its end. */
export interface ExchangeRecord {
  id: string;
  method: string;
  /** As routes are written: "/v1/models/*". */
  route: string;
  access: Scope | "open";
  client?: Client;
  /** 499: the client left before there was an answer. */
  status: number;
  /** Of the error that it got. */
  code?: string;
  ms: number;
  notes: RunNotes;
  texts: readonly TextRecord[];
}

export interface Watcher {
  /** The model's events, as clients get them. */
  onEvent?(event: TextEvent, record: TextRecord): void;
  /** Seconds since the token before, of the same choice. */
  onToken?(seconds: number): void;
  onText?(record: TextRecord): void;
  onExchange?(record: ExchangeRecord): void;
}
