// Progress of long work on stderr: bars on a terminal, a line now and then elsewhere.

import { MultiBar, Presets, type SingleBar } from "cli-progress";
import { log } from "./output.js";

export interface Progress {
  /** `name` of undefined is the whole. `start`: what was there before, which does not count for the speed. */
  update(name: string | undefined, done: number, total: number, start?: number): void;
  /** A line that does not disturb the bars. */
  line(text: string): void;
  stop(): void;
}

/** Progress in bytes. */
export function createProgress(what: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  return stream.isTTY ? createBars(what, stream) : createLines(what);
}

function createBars(what: string, stream: NodeJS.WriteStream): Progress {
  const bars = new MultiBar(
    {
      stream,
      format: "{bar} {percentage}%  {done} of {size}  {rate}  ETA {eta_formatted}  {name}",
      hideCursor: true,
      clearOnComplete: true,
      stopOnComplete: false,
      etaBuffer: 200,
      gracefulExit: false, // Ctrl-C belongs to the command
    },
    Presets.shades_grey,
  );
  const shown = new Map<string, { bar: SingleBar; meter: Meter }>();
  return {
    update(name, done, total, start = 0) {
      const label = name ?? what;
      let entry = shown.get(label);
      if (entry === undefined) {
        const payload = { name: label, done: formatBytes(start), size: formatBytes(total), rate: "" };
        entry = { bar: bars.create(total, start, payload), meter: createMeter(start) };
        shown.set(label, entry);
      }
      entry.bar.update(done, { done: formatBytes(done), rate: entry.meter(done) });
      if (name !== undefined && done >= total) {
        bars.remove(entry.bar); // the whole stays
      }
    },
    line(text) {
      bars.log(`${text}\n`);
      bars.update();
    },
    stop() {
      bars.stop();
    },
  };
}

const lineEveryMs = 5000;

function createLines(what: string): Progress {
  let last = Date.now();
  let meter: Meter | undefined;
  return {
    update(name, done, total, start = 0) {
      if (name !== undefined) {
        return;
      }
      meter ??= createMeter(start);
      if (Date.now() - last >= lineEveryMs) {
        last = Date.now();
        const percent = Math.floor((100 * done) / Math.max(1, total));
        log(`${what}: ${percent} % of ${formatBytes(total)}, ${meter(done)}`);
      }
    },
    line: log,
    stop() {},
  };
}

type Meter = (done: number) => string;

function createMeter(start: number): Meter {
  const begun = performance.now();
  return (done) => `${formatBytes(((done - start) * 1000) / Math.max(1, performance.now() - begun))}/s`;
}

/** "1.2 GB"; powers of ten, as hubs and disks count. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? Math.round(value) : value.toPrecision(3)} ${units[unit]}`;
}
