// One line of progress that fits any width: what it says is chosen by what there is room for.

import { formatBytes } from "./format.js";
import { cutLine, displayWidth, padToWidth } from "./width.js";

export interface BarLine {
  name: string;
  /** Columns of the widest name that is shown beside this one, so that the bars begin at the same place. */
  nameWidth: number;
  done: number;
  total: number;
  /** Bytes per second, as text; empty if not known. */
  rate: string;
  /** Until it is done. Undefined: not known. */
  secondsLeft: number | undefined;
  /** Whether `done` is shown in bytes. */
  hasSize: boolean;
}

const gap = "  ";
const leastBar = 8;
const leastName = 12;
const mostName = 32;

/** `columns` at most: name, bar, percentage, size, rate, time left; the bar takes what is left. */
export function formatBar(line: BarLine, columns: number): string {
  const percent = `${Math.floor((100 * line.done) / Math.max(1, line.total))}%`.padStart(4);
  const done = formatBytes(line.done).padStart(7);
  const size = `${done} of ${formatBytes(line.total)}`.padEnd(18);
  const rate = line.rate.padStart(9);
  const left = line.done >= line.total ? "" : `ETA ${formatDuration(line.secondsLeft)}`.padEnd(8);
  const figures = line.hasSize ? [[size, rate], [done, rate], [rate], []] : [[]];
  const withBar = figures.map((parts) => [percent, ...parts, left]);
  const widestName = Math.min(line.nameWidth, mostName);
  const nameOf = (width: number) => padToWidth(shortenFileName(line.name, width), width);
  for (const parts of withBar) {
    const text = parts.join(gap);
    const room = columns - text.length - 2 * gap.length;
    const nameWidth = Math.max(Math.min(widestName, leastName), Math.min(widestName, Math.floor(room / 2)));
    if (room - nameWidth >= leastBar) {
      return [nameOf(nameWidth), drawBar(line, room - nameWidth), text].join(gap);
    }
  }
  for (const text of [percent + gap + left, percent]) {
    const room = columns - text.length - gap.length;
    if (room >= leastName / 2) {
      return nameOf(Math.min(widestName, room)) + gap + text;
    }
  }
  return cutLine(percent, columns);
}

/** What tells the parts of a model from each other are the first characters of their file names. */
function shortenFileName(name: string, width: number): string {
  const base = name.slice(name.lastIndexOf("/") + 1);
  const stem = base.replace(/\.[a-z]+$/i, "");
  return [name, base, stem].find((text) => displayWidth(text) <= width) ?? cutLine(stem, width);
}

function drawBar({ done, total }: BarLine, width: number): string {
  const filled = Math.min(width, Math.floor((width * done) / Math.max(1, total)));
  return "█".repeat(filled) + "░".repeat(width - filled);
}

/** "0:07", "12:34", "1:02:03"; at most seven characters. */
export function formatDuration(seconds: number | undefined): string {
  if (seconds === undefined || !Number.isFinite(seconds)) {
    return "-:--";
  }
  const whole = Math.ceil(seconds);
  const hours = Math.floor(whole / 3600);
  const [minutes, rest] = [Math.floor(whole / 60) % 60, whole % 60];
  if (hours >= 100) {
    return `${Math.floor(hours / 24)} days`;
  }
  const two = (value: number) => String(value).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** How fast something grows. */
export interface Meter {
  add(value: number): void;
  /** Per second over the last `seconds`, also where nothing came; undefined before anything is known. */
  rate(seconds: number): number | undefined;
}

const longestWindow = 60; // seconds
const samplesPerSecond = 4;

export function createMeter(start: number): Meter {
  const samples = [{ time: performance.now(), value: start }];
  let value = start;
  return {
    add(now) {
      value = now;
      const time = performance.now();
      const last = samples.at(-1);
      if (last === undefined || time - last.time >= 1000 / samplesPerSecond) {
        samples.push({ time, value });
      }
      while (samples.length > longestWindow * samplesPerSecond) {
        samples.splice(1, 1); // the first one is the base of the mean of all
      }
    },
    rate(seconds) {
      const time = performance.now();
      const base = samples.findLast((sample) => time - sample.time >= 1000 * seconds) ?? samples[0];
      return base === undefined || time - base.time < 500
        ? undefined
        : ((value - base.value) * 1000) / (time - base.time);
    },
  };
}
