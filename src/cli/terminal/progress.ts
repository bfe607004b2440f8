// Progress of long work on stderr: bars on a terminal, a line now and then elsewhere.

import { MultiBar, Presets, type SingleBar } from "cli-progress";
import { formatBytes } from "./format.js";
import { log, type OutputStream } from "./output.js";

/** What is counted: bytes of files, or steps of measuring, which take their time one by one. */
export type ProgressUnit = "bytes" | "steps";

/** Columns that the figures take; what a narrow terminal cannot show of the name is cut. */
const besideBar = 60;

const formats: Record<ProgressUnit, string> = {
  bytes: "{bar} {percentage}%  {done} of {size}  {rate}  ETA {eta_formatted}  {name}",
  steps: "{bar} {percentage}%  ETA {eta_formatted}  {name}",
};

export interface Part {
  /** Of this part of the work, which has a bar of its own; default: the whole. */
  part?: string;
  /** What is being done; default: the name of the part, or of the work. */
  name?: string;
  /** What was there before, which does not count for the speed. Default: 0. */
  start?: number;
}

export interface Progress {
  update(done: number, total: number, part?: Part): void;
  /** A line that does not disturb the bars. */
  line(text: string): void;
  /** Ends the bars; a later update begins them anew. */
  stop(): void;
}

export function createProgress(what: string, unit: ProgressUnit, stream: OutputStream = process.stderr): Progress {
  return stream.isTTY ? createBars(what, unit, stream) : createLines(what, unit, stream);
}

function createBars(what: string, unit: ProgressUnit, stream: OutputStream): Progress {
  let bars: MultiBar | undefined;
  const shown = new Map<string, { bar: SingleBar; meter: Meter }>();
  const show = (label: string, total: number, start: number) => {
    bars ??= new MultiBar(
      {
        stream,
        format: formats[unit],
        barsize: Math.min(40, Math.max(10, (stream.columns ?? 80) - besideBar)),
        hideCursor: true,
        clearOnComplete: true,
        stopOnComplete: false,
        etaBuffer: 200,
        gracefulExit: false, // Ctrl-C belongs to the command
      },
      Presets.shades_grey,
    );
    const payload = { name: label, done: formatBytes(start), size: formatBytes(total), rate: "" };
    const entry = { bar: bars.create(total, start, payload), meter: createMeter(start) };
    shown.set(label, entry);
    return entry;
  };
  return {
    update(done, total, { part, name, start = 0 } = {}) {
      const label = part ?? what;
      const { bar, meter } = shown.get(label) ?? show(label, total, start);
      bar.update(done, { name: name ?? label, done: formatBytes(done), rate: meter(done) });
      if (part !== undefined && done >= total) {
        bars?.remove(bar); // the whole stays
      }
    },
    line(text) {
      if (bars === undefined) {
        log(text, stream);
      } else {
        bars.log(`${text}\n`);
        bars.update();
      }
    },
    stop() {
      bars?.stop();
      bars = undefined;
      shown.clear();
    },
  };
}

const lineEveryMs = 5000;

function createLines(what: string, unit: ProgressUnit, stream: OutputStream): Progress {
  let last = Date.now();
  let meter: Meter | undefined;
  return {
    update(done, total, { part, name, start = 0 } = {}) {
      if (part !== undefined) {
        return;
      }
      meter ??= createMeter(start);
      if (Date.now() - last >= lineEveryMs) {
        last = Date.now();
        const percent = Math.floor((100 * done) / Math.max(1, total));
        const rest = unit === "bytes" ? ` of ${formatBytes(total)}, ${meter(done)}` : `, ${name ?? what}`;
        log(`${what}: ${percent} %${rest}`, stream);
      }
    },
    line: (text) => log(text, stream),
    stop() {},
  };
}

type Meter = (done: number) => string;

function createMeter(start: number): Meter {
  const begun = performance.now();
  return (done) => `${formatBytes(((done - start) * 1000) / Math.max(1, performance.now() - begun))}/s`;
}
