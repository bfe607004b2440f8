// What the commands of `bitnet bench` share: lists on the command line, a progress bar.

import { Presets, SingleBar } from "cli-progress";
import { integerFrom } from "../options.js";

/** A parser for a list of integers; a repeated option adds to it. */
export function listFrom(min: number, max: number): (text: string, earlier?: number[]) => number[] {
  const parse = integerFrom(min, max);
  const lists = new WeakSet<number[]>(); // what this parser has made: a default is replaced, not added to
  return (text, earlier) => {
    const values = text.split(",").map((word) => parse(word.trim()));
    const all = [...(earlier !== undefined && lists.has(earlier) ? earlier : []), ...values];
    lists.add(all);
    return all;
  };
}

export function collectNames(text: string, earlier: string[] = []): string[] {
  return [...earlier, ...text.split(",").map((name) => name.trim())];
}

export function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

export interface Progress {
  done: number;
  total: number;
  what: string;
}

/** A bar on a terminal, nothing elsewhere. */
export function startProgress(): { update: (progress: Progress) => void; stop: () => void } {
  if (!process.stderr.isTTY) {
    return { update: () => {}, stop: () => {} };
  }
  const bar = new SingleBar(
    {
      stream: process.stderr,
      format: "{bar} {percentage}%  ETA {eta_formatted}  {what}",
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false, // Ctrl-C belongs to the command
    },
    Presets.shades_grey,
  );
  let isStarted = false;
  return {
    update({ done, total, what }) {
      if (!isStarted) {
        isStarted = true;
        bar.start(total, 0, { what });
      }
      bar.update(done, { what });
    },
    stop() {
      bar.stop();
      isStarted = false;
    },
  };
}
