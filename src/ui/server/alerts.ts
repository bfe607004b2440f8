// The alerts that the server's monitor has raised.

import { field } from "./connection.js";

export interface Alert {
  /** Among those that were read. */
  place: number;
  time: Date | undefined;
  level: "critical" | "warning";
  text: string;
  isOver: boolean;
}

const most = 200;

/** Newest first. */
export function readAlerts(body: unknown): Alert[] {
  const list = field(body, "alerts") ?? body;
  return Array.isArray(list) ? list.slice(-most).map(readAlert).reverse() : [];
}

function readAlert(value: unknown, place: number): Alert {
  const text = field(value, "message") ?? field(value, "name") ?? field(value, "type");
  const level = field(value, "severity") ?? field(value, "level");
  return {
    place,
    time: readTime(field(value, "begin") ?? field(value, "timestamp")),
    level: level === "critical" ? "critical" : "warning",
    text: typeof text === "string" ? text.slice(0, 1000) : "",
    isOver: (field(value, "end") ?? null) !== null,
  };
}

/** ISO text, or seconds or milliseconds since 1970. */
function readTime(value: unknown): Date | undefined {
  const time =
    typeof value === "number" ? new Date(value < 1e11 ? value * 1000 : value) : new Date(String(value ?? ""));
  return Number.isNaN(time.getTime()) ? undefined : time;
}
