// Progress of long work on stderr: bars on a terminal, a line now and then elsewhere.

import { MultiBar } from "cli-progress";
import { createMeter, formatBar, type Meter } from "./bar.js";
import { formatBytes, oneLine } from "./format.js";
import { columnsOf, isScreen, logLine, note, type OutputStream } from "./output.js";
import { cutLine, displayWidth } from "./width.js";

/** What is counted: bytes of files, or steps of measuring, which take their time one by one. */
export type ProgressUnit = "bytes" | "steps";

export interface Part {
  /** Of this part of the work, which has a bar of its own; default: the whole. */
  part?: string;
  /** What is being done; default: the name of the part, or of the work. */
  name?: string;
  /** What was there before, which does not count for the speed. Default: 0. */
  start?: number;
}

/** Something that failed and will be tried again. */
export interface Retry {
  subject: string;
  reason: string;
  /** Milliseconds until then. */
  pause: number;
}

export interface Progress {
  update(done: number, total: number, part?: Part): void;
  /** A line that does not disturb the bars. */
  line(text: string): void;
  /** The same for a line with "note:". */
  note(text: string): void;
  /** On a terminal one line that counts down, until the part that `subject` ends with goes on. */
  retry(retry: Retry): void;
  /** Ends the bars; a later update begins them anew. */
  stop(): void;
}

export function createProgress(what: string, unit: ProgressUnit, stream: OutputStream = process.stderr): Progress {
  return isScreen(stream) ? new Bars(what, unit, stream) : createLines(what, unit, stream);
}

interface Bar {
  name: string;
  done: number;
  total: number;
  meter: Meter;
}

/** Seconds that the rate and the time left are measured over. */
const rateWindow = 4;
const leftWindow = 20;

const nearlyAll = 0.9;

class Bars implements Progress {
  readonly #what: string;
  readonly #unit: ProgressUnit;
  readonly #stream: OutputStream;
  readonly #parts = new Map<string, Bar>();
  #whole: Bar | undefined;
  readonly #retries = new Map<string, Retry & { at: number }>();
  /** What is on the screen: cli-progress and the lines that it has drawn. */
  #shown: { multi: MultiBar; lines: string[] } | undefined;
  readonly #redraw = () => {
    this.#hide();
    this.#show();
  };

  constructor(what: string, unit: ProgressUnit, stream: OutputStream) {
    this.#what = what;
    this.#unit = unit;
    this.#stream = stream;
  }

  update(done: number, total: number, { part, name, start = 0 }: Part = {}): void {
    const before = this.#countLines();
    const bar = (part === undefined ? this.#whole : this.#parts.get(part)) ?? {
      name: "",
      done: start,
      total,
      meter: createMeter(start),
    };
    Object.assign(bar, { done, total, name: oneLine(name ?? part ?? this.#what) });
    bar.meter.add(done);
    if (part === undefined) {
      this.#whole = bar;
    } else {
      this.#forgetRetries(part);
      if (done < total || this.#whole?.total === total) {
        this.#parts.set(part, bar);
      } else {
        this.#parts.delete(part); // the whole stays
      }
    }
    this.#change(before);
  }

  line(text: string): void {
    this.#hide();
    logLine(text, this.#stream);
    this.#show();
  }

  note(text: string): void {
    this.#hide();
    note(text, this.#stream);
    this.#show();
  }

  retry(retry: Retry): void {
    const before = this.#countLines();
    this.#retries.set(retry.subject, { ...retry, at: performance.now() + retry.pause });
    this.#change(before);
  }

  stop(): void {
    this.#hide();
    this.#parts.clear();
    this.#retries.clear();
    this.#whole = undefined;
  }

  #forgetRetries(part: string): void {
    for (const subject of this.#retries.keys()) {
      if (subject.endsWith(part)) {
        this.#retries.delete(subject);
      }
    }
  }

  /** A bar of the whole says nothing beside one of a part that is nearly all of it. */
  #bars(): Bar[] {
    const parts = [...this.#parts.values()];
    const [only, ...others] = parts;
    const whole = this.#whole;
    if (whole === undefined || (only !== undefined && others.length === 0 && only.total === whole.total)) {
      return parts;
    }
    if (only !== undefined && others.length === 0 && only.total >= nearlyAll * whole.total) {
      return [{ ...whole, name: only.name }];
    }
    return parts.length === 0 ? [whole] : [...parts, { ...whole, name: "total" }];
  }

  #countLines(): number {
    return this.#bars().length + this.#retries.size;
  }

  /** The figures are drawn by a timer; another number of lines needs another frame. */
  #change(before: number): void {
    if (this.#shown === undefined || this.#countLines() !== before) {
      this.#redraw();
    }
  }

  #show(): void {
    const count = this.#countLines();
    if (this.#shown !== undefined || count === 0) {
      return;
    }
    const lines: string[] = [];
    const multi = new MultiBar({
      stream: this.#stream,
      hideCursor: true,
      clearOnComplete: true,
      stopOnComplete: false,
      forceRedraw: true, // a redraw after a resize may be the same text
      gracefulExit: false, // Ctrl-C belongs to the command
    });
    for (let index = 0; index < count; index++) {
      const format = () => {
        lines[index] = this.#formatLine(index);
        return lines[index] ?? "";
      };
      multi.create(1, 0, {}, { format });
    }
    this.#shown = { multi, lines };
    multi.update();
    this.#stream.on("resize", this.#redraw);
    process.on("exit", this.#showCursor);
  }

  readonly #showCursor = () => void this.#stream.write("\u001b[?25h");

  /** Clears the bars. A terminal that has become narrower has wrapped them: those rows have to go, too. */
  #hide(): void {
    if (this.#shown === undefined) {
      return;
    }
    const { multi, lines } = this.#shown;
    const columns = columnsOf(this.#stream) ?? 80;
    const wrapped = lines.reduce((rows, line) => rows + Math.max(0, Math.ceil(displayWidth(line) / columns) - 1), 0);
    if (wrapped > 0) {
      this.#stream.write(`\u001b[${wrapped}A`);
    }
    multi.stop();
    this.#shown = undefined;
    this.#stream.off("resize", this.#redraw);
    process.off("exit", this.#showCursor);
  }

  #formatLine(index: number): string {
    const columns = (columnsOf(this.#stream) ?? 80) - 1; // the cursor stays in the line
    const bars = this.#bars();
    const bar = bars[index];
    if (bar !== undefined) {
      const nameWidth = Math.max(...bars.map(({ name }) => displayWidth(name)));
      return formatBar({ ...bar, nameWidth, hasSize: this.#unit === "bytes", ...this.#speedOf(bar) }, columns);
    }
    const retry = [...this.#retries.values()][index - bars.length];
    return retry === undefined ? "" : formatRetry(retry, Math.max(0, retry.at - performance.now()), columns);
  }

  #speedOf({ meter, done, total }: Bar): { rate: string; secondsLeft: number | undefined } {
    const rate = this.#unit === "bytes" ? meter.rate(rateWindow) : undefined;
    // Steps take their time one by one: only the mean of all tells something.
    const recent = meter.rate(this.#unit === "bytes" ? leftWindow : Number.POSITIVE_INFINITY);
    return {
      rate: rate === undefined ? "" : `${formatBytes(rate)}/s`,
      secondsLeft: recent === undefined || recent <= 0 ? undefined : (total - done) / recent,
    };
  }
}

/** The time is never cut off: it is what changes. The reason comes before the folders of the name. */
function formatRetry({ subject, reason }: Retry, pause: number, columns: number): string {
  const when = pause > 0 ? `; trying again in ${Math.ceil(pause / 1000)} s` : "; trying again";
  const room = columns - when.length;
  const texts = [`${subject}: ${reason}`, `${subject.slice(subject.lastIndexOf("/") + 1)}: ${reason}`, reason].map(
    oneLine,
  );
  return (texts.find((text) => displayWidth(text) <= room) ?? cutLine(reason, room)) + when;
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
      meter.add(done);
      if (Date.now() - last >= lineEveryMs) {
        last = Date.now();
        const percent = Math.floor((100 * done) / Math.max(1, total));
        const rate = meter.rate(rateWindow) ?? 0;
        const rest = unit === "bytes" ? ` of ${formatBytes(total)}, ${formatBytes(rate)}/s` : `, ${name ?? what}`;
        logLine(`${what}: ${percent} %${rest}`, stream);
      }
    },
    line: (text) => logLine(text, stream),
    note: (text) => note(text, stream),
    retry: ({ subject, reason, pause }) =>
      logLine(`${subject}: ${reason}; trying again in ${(pause / 1000).toFixed(1)} s`, stream),
    stop() {},
  };
}
