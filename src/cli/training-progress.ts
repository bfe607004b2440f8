// What a training tells while it runs: lines and a bar on stderr, or one JSON object a line on stdout.

import { countOf, groupDigits } from "../system/counts.js";
import type { SourceReport, TrainingData } from "../train/data/load.js";
import type { FinetuneEvent } from "../train/finetune.js";
import type { PretrainEvent } from "../train/pretrain.js";
import type { TokenizerProgress } from "../train/tokenizer/train.js";
import type { StepReport } from "../train/trainer.js";
import { formatDuration } from "./terminal/bar.js";
import { formatBytes } from "./terminal/format.js";
import { columnsOf, isScreen, log, logLine, note, writeJson, writeText } from "./terminal/output.js";
import { createProgress, type Progress } from "./terminal/progress.js";
import { listDataWarnings } from "./training-data-report.js";

export type TrainingEvent = FinetuneEvent | PretrainEvent;

export interface TrainingView {
  show(event: TrainingEvent): void;
  /** Ends the bar. */
  stop(): void;
}

export function createTrainingView({ json = false, quiet = false }: { json?: boolean; quiet?: boolean }): TrainingView {
  if (json) {
    return { show: showJson, stop() {} };
  }
  return quiet ? { show() {}, stop() {} } : new LineView();
}

/** What follows from the machine alone, or repeats, is left out. */
function showJson(event: TrainingEvent): void {
  switch (event.kind) {
    case "progress":
    case "evaluating":
    case "reading":
    case "tokenizing":
      return;
    case "data": {
      const { sources, evalSources, duplicates } = event.data;
      writeJson({ kind: event.kind, sources, evalSources, duplicates });
      return;
    }
    case "plan":
      writeJson({
        kind: event.kind,
        steps: event.steps,
        memory: event.plan,
        checkpointing: event.checkpointing,
      });
      return;
    case "opened": {
      const { trainedParameters, totalParameters, kernel, threads } = event.info;
      writeJson({ kind: event.kind, trainedParameters, totalParameters, kernel, threads });
      return;
    }
    default:
      writeJson(event);
      return;
  }
}

class LineView implements TrainingView {
  #bar: { name: string; start: number; progress: Progress } | undefined;
  #stage = 0;
  #counted = Date.now(); // when a line last told a number

  show(event: TrainingEvent): void {
    switch (event.kind) {
      case "reading":
        this.#count(`read ${countOf(event.examples, "example", groupDigits)}`);
        return;
      case "tokenizer":
        this.#showTokenizer(event.progress);
        return;
      case "tokenizing":
        this.#count(
          `wrote ${countOf(event.tokens, "token", groupDigits)} of ${countOf(event.documents, "document", groupDigits)}`,
        );
        return;
      case "shards":
        this.#line(
          `data: ${countOf(event.tokens, "token", groupDigits)} in ${countOf(event.documents, "document", groupDigits)}` +
            (event.evaluation > 0 ? `, ${groupDigits(event.evaluation)} more evaluate` : ""),
        );
        return;
      case "plan":
        this.#line(
          `${countOf(event.steps, "step", groupDigits)}, ${formatBytes(event.plan.total)} of memory` +
            (event.checkpointing ? " with gradient checkpointing" : ""),
        );
        return;
      case "opened":
        this.#showParameters(event.info);
        return;
      case "resumed":
        this.#line(`going on after step ${event.step} (${event.path})`);
        return;
      case "step":
        this.#showStep(event);
        return;
      case "progress":
        this.#progress("training", event.step, event.steps);
        return;
      case "evaluating":
        this.#progress("evaluating", event.rows, event.totalRows);
        return;
      case "eval":
        this.#line(
          `evaluation after ${countOf(event.step, "step")}: loss ${event.loss.toFixed(4)}, perplexity ${formatFigure(Math.exp(event.loss))}${event.isBest ? ", the lowest so far" : ""}`,
        );
        return;
      case "checkpoint":
        this.#line(`saved ${event.path}`);
        return;
      case "note":
        this.#note(event.text);
        return;
      case "exporting":
        this.#line("writing the result, reading it back and loading it once");
        return;
      case "answer":
        this.stop();
        log(`${event.when} the training`);
        writeText(`> ${event.prompt}\n${event.answer.trim()}\n`, process.stderr);
        return;
      case "data":
        this.#showData(event.data);
        return;
    }
  }

  stop(): void {
    this.#bar?.progress.stop();
    this.#bar = undefined;
  }

  #showParameters({
    trainedParameters: trained,
    totalParameters: total,
  }: {
    trainedParameters: number;
    totalParameters: number;
  }) {
    const percent = ((100 * trained) / total).toFixed(trained === total ? 0 : 4);
    this.#line(
      `trainable params: ${groupDigits(trained)} || all params: ${groupDigits(total)} || trainable%: ${percent}`,
    );
  }

  #showData(data: TrainingData): void {
    const sum = (of: (source: SourceReport) => number) => data.sources.reduce((total, source) => total + of(source), 0);
    const [examples, tokens, learned] = [sum((s) => s.examples), sum((s) => s.tokens), sum((s) => s.trainedTokens)];
    this.#line(
      `data: ${countOf(examples, "example", groupDigits)}, ${countOf(tokens, "token", groupDigits)}, ${groupDigits(learned)} of them learned`,
    );
    for (const warning of listDataWarnings(data)) {
      this.#note(warning);
    }
  }

  #showTokenizer(progress: TokenizerProgress): void {
    if (progress.phase === "counting") {
      this.#count(`tokenizer: counted the words of ${countOf(progress.texts, "text", groupDigits)}`);
    } else {
      this.#progress("tokenizer", progress.entries, progress.vocabSize);
    }
  }

  #showStep(report: StepReport): void {
    if (report.stage !== this.#stage && this.#stage > 0) {
      this.#line(`stage ${report.stage}`);
    }
    this.#stage = report.stage;
    this.#line(formatStep(report, columnsOf(process.stderr)));
  }

  #line(text: string): void {
    if (this.#bar === undefined) {
      logLine(text);
    } else {
      this.#bar.progress.line(text);
    }
  }

  #note(text: string): void {
    if (this.#bar === undefined) {
      note(text);
    } else {
      this.#bar.progress.note(text);
    }
  }

  /** Of work whose end is not known. */
  #count(text: string): void {
    if (Date.now() - this.#counted >= 5000) {
      this.#counted = Date.now();
      this.#line(text);
    }
  }

  /** Elsewhere than on a screen the lines tell enough. */
  #progress(name: string, done: number, total: number): void {
    if (!isScreen(process.stderr)) {
      return;
    }
    if (this.#bar?.name !== name) {
      this.stop();
      this.#bar = { name, start: done, progress: createProgress(name, "steps") }; // a run may go on in the middle
    }
    this.#bar.progress.update(done, total, { start: this.#bar.start });
    if (done === total) {
      this.stop();
    }
  }
}

/** As much as fits into a line of `width` columns. */
export function formatStep(report: StepReport, width = 100): string {
  const { step, steps, loss, lr, gradNorm, tokensPerSecond, secondsLeft } = report;
  const number = `${String(step).padStart(String(steps).length)}/${steps}`;
  const parts = [
    { text: `step ${number}`, rank: 0 },
    { text: `loss ${loss.toFixed(4)}`, rank: 0 },
    { text: `lr ${lr.toExponential(2)}`, rank: 2 },
    { text: `norm ${formatFigure(gradNorm)}`, rank: 3 },
    { text: `${groupDigits(Math.round(tokensPerSecond))} tokens/s`, rank: 1 },
    { text: step < steps ? `${formatDuration(secondsLeft)} left` : "", rank: 0 },
  ].filter(({ text }) => text !== "");
  for (let most = 3; most > 0; most--) {
    const line = join(parts, most);
    if (line.length < width) {
      return line;
    }
  }
  return join(parts, 0);
}

function join(parts: readonly { text: string; rank: number }[], most: number): string {
  return parts
    .filter(({ rank }) => rank <= most)
    .map(({ text }) => text)
    .join("  ");
}

/** Three digits. */
function formatFigure(value: number): string {
  return value >= 1000 || value < 0.001 ? value.toExponential(1) : value.toPrecision(3);
}
