// What every check gives: facts as data, and what follows from them.

import type { NativeAddon } from "../native/addon.js";
import { type BitnetError, toBitnetError } from "../system/errors.js";
import type { SystemFiles } from "./system-files.js";

/** "note": worth knowing; "warning": it runs, but slower or not for long; "problem": something does not work. */
export type Status = "ok" | "note" | "warning" | "problem";

export interface Advice {
  status: Exclude<Status, "ok">;
  /** What is wrong, on one line. */
  what: string;
  /** What to do about it. */
  next?: string;
}

export interface Finding<Facts> {
  /** The worst of the advice. */
  status: Status;
  /** null where the check could not be made at all. */
  facts: Facts | null;
  advice: Advice[];
}

/** What the checks look at. */
export interface Context {
  /** The native part, or why there is none. */
  native: NativeAddon | BitnetError;
  files: SystemFiles;
  env: Readonly<Record<string, string | undefined>>;
  platform: NodeJS.Platform;
  /** Path of the model's file, or what was named. */
  model: string;
  /** Why no file is meant by that name. */
  modelProblem?: BitnetError;
  threads?: number;
  quick: boolean;
  online: boolean;
  /** Names of the environment variables that are read; "X_*" stands for all that begin so. */
  variables: readonly string[];
  /** Files of options. */
  settingsFiles: readonly string[];
  signal?: AbortSignal;
  /** Something that takes time goes on now. */
  onStep: (what: string) => void;
}

export interface Check<Facts> {
  title: string;
  run(context: Context): Finding<Facts> | Promise<Finding<Facts>>;
}

const order: readonly Status[] = ["ok", "note", "warning", "problem"];

export function worstOf(statuses: readonly Status[]): Status {
  return statuses.reduce<Status>((worst, one) => (order.indexOf(one) > order.indexOf(worst) ? one : worst), "ok");
}

export function findingOf<Facts>(facts: Facts | null, advice: Advice[] = []): Finding<Facts> {
  return { status: worstOf(advice.map(({ status }) => status)), facts, advice };
}

/** An error as advice. */
export function adviceOf(error: unknown, status: Advice["status"] = "problem", what?: string): Advice {
  const { message, hint } = toBitnetError(error);
  return {
    status,
    what: what === undefined ? message : `${what}: ${message}`,
    ...(hint !== undefined && { next: hint }),
  };
}

/** "1.2 GB", as everything here counts. */
export function gigabytes(bytes: number): string {
  return bytes >= 9.95e8 ? `${(bytes / 1e9).toPrecision(3)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`;
}
