// The server's own log: entries as lines that nothing of an entry can break, and a file for them.

import { AppendFile } from "./append-file.js";
import type { ApiError } from "./errors.js";

export type LogFormat = "text" | "json";

export interface LogEntry {
  level: "info" | "warn" | "error";
  message: string;
  /** What else is known: an error, an address. Never a text of a request. */
  fields?: Readonly<Record<string, unknown>>;
}

export type Log = (entry: LogEntry) => void;

/** Tells of a fault of the server, of which the client learns only that there was one. */
export function logFault(log: Log, { status, details }: ApiError, requestId: string, route: string | undefined): void {
  if (status >= 500 && details.code === "internal_error") {
    const { cause } = details;
    const error = String((cause as Error | undefined)?.stack ?? cause);
    log({ level: "error", message: "a request failed", fields: { requestId, route, error } });
  }
}

/** One line, without its end. */
export function formatLogEntry({ level, message, fields = {} }: LogEntry, format: LogFormat, time?: Date): string {
  if (format === "json") {
    return JSON.stringify({ ...(time === undefined ? {} : { time: time.toISOString() }), level, message, ...fields });
  }
  const details = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${JSON.stringify(value)}`);
  const stamp = time === undefined ? "" : `${time.toISOString()} `;
  return `${stamp}${level}: ${asOneLine(message)}${details.join("")}`;
}

/** Without characters that end a line or steer a terminal. */
function asOneLine(text: string): string {
  return text.replace(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Writes entries to the end of a file. */
export class LogFile {
  readonly #file: AppendFile;
  readonly #format: LogFormat;

  /** Throws if the file cannot be written. */
  constructor(path: string, format: LogFormat) {
    this.#file = new AppendFile(path);
    this.#format = format;
  }

  readonly write: Log = (entry) => {
    this.#file.write(`${formatLogEntry(entry, this.#format, new Date())}\n`);
  };

  reopen(): void {
    this.#file.reopen();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
