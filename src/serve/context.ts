// What the routes of a server share.

import type { FastifyInstance } from "fastify";
import type { ApiError } from "./errors.js";
import type { InsideReply, InsideRequest } from "./inside.js";
import type { Log } from "./log.js";
import type { ServeOptions } from "./options.js";
import type { Watcher } from "./records.js";
import type { Client, RunContext, RunNotes, Stage, TextEvent, TextRequest } from "./request.js";
import type { TextService } from "./service.js";

export type ServerState = "loading" | "ready" | "draining" | "failed";

export interface ServerContext {
  readonly options: ServeOptions;
  readonly state: ServerState;
  /** Throws 503 while the model is loaded, and when the server is ending. */
  readonly service: TextService;
  /** The model's name in answers. */
  readonly modelId: string;
  /** Seconds since 1970. */
  readonly startedAt: number;
  /** From the outside in; a module adds its own when it is registered. */
  readonly stages: Stage[];
  /** Told about every request; a module adds its own when it is registered. */
  readonly watchers: Watcher[];
  /** Answers that are kept, if any are. */
  responseCache?: { readonly size: number; readonly bytes: number };
  /** Of the operator's file; undefined if there is none. */
  readonly secret: Buffer | undefined;
  /** 16 characters that stand for a client in logs; who does not know the secret cannot tell which client. */
  markOf(id: string): string;
  /** Runs a request through all stages. */
  run(request: TextRequest, context: RunContext): AsyncIterable<TextEvent>;
  /** Called when a reader was given up. */
  onDrop(listener: () => void): void;
  /** Answers a request of this process as if it had come over a connection. */
  handle(request: InsideRequest): Promise<InsideReply>;
  /** A reader was given up that did not read. */
  onDropped(): void;
  /** Called once the model is there. */
  onReady(listener: (service: TextService) => void): void;
  /** Called when files that were changed are to be read anew, and logs to be reopened. */
  onReload(listener: () => void | Promise<void>): void;
  /** The server's own log. */
  readonly log: Log;
  /** Called at the very end, for files and connections. */
  onClose(listener: () => void | Promise<void>): void;
}

/** What a module of routes or hooks exports. */
export type Register = (app: FastifyInstance, context: ServerContext) => void | Promise<void>;

declare module "fastify" {
  interface FastifyRequest {
    /** Who asks, once that is known. */
    client: Client | undefined;
    notes: RunNotes | undefined;
  }
  interface FastifyContextConfig {
    /** How this route's dialect writes an error. */
    errorBody?: (error: ApiError) => unknown;
  }
}
