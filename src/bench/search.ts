// The search of `bitnet tune`, apart from what it measures: one setting after the other is changed, and a change is kept
// only if it wins by more than the noise, twice.

import type { NativeTuning } from "../native/addon.js";
import { at } from "../system/at.js";
import { throwIfAborted } from "../system/errors.js";
import { medianOf } from "./stats.js";

export interface Settings {
  kernel: string;
  threads: number;
  parameters: Required<NativeTuning>;
}

/** What is timed: a whole batch, some batches of few tokens, single tokens. */
export type Phase = "prefill" | "few" | "decode";

/** Seconds of one run of a phase. */
export type Measure = (settings: Settings, phase: Phase) => Promise<number>;

/** One coordinate of the search. */
export interface Step {
  name: string;
  phases: readonly Phase[]; // those that it can change
  /** Whether it makes a difference with these settings. Default: always. */
  applies?: (settings: Settings) => boolean;
  /** Values to try, the incumbent's among them or not. */
  values: readonly (string | number)[];
  /** Speed has several hills over these values: a quick search, too, looks at all of them. */
  hasSeveralHills?: boolean;
  get: (settings: Settings) => string | number;
  set: (settings: Settings, value: string | number) => Settings;
}

/** One comparison of a changed setting with the incumbent. */
export interface Trial {
  step: string;
  from: string | number;
  to: string | number;
  gain: number; // of speed: 0.05 is 5 % faster
  adopted: boolean;
}

export interface PhaseComparison {
  phase: Phase;
  before: number; // median seconds
  after: number;
  gain: number; // median of the pairs
}

export interface SearchResult {
  settings: Settings;
  trials: Trial[];
  comparisons: PhaseComparison[];
}

export interface SearchOptions {
  repetitions: number; // pairs of a comparison
  /** Only the values next to the incumbent's, where speed has one hill over them, and every step once. */
  quick: boolean;
  signal?: AbortSignal;
  onTrial?: (trial: Trial) => void;
}

const leastGain = 0.01; // what is not worth a change

export async function searchSettings(
  start: Settings,
  steps: readonly Step[],
  measure: Measure,
  options: SearchOptions,
): Promise<SearchResult> {
  const trials: Trial[] = [];
  const pairs = new PairedMeasure(measure, options.signal);
  let best = start;
  for (let sweep = 0; sweep < (options.quick ? 1 : 2); sweep++) {
    const before = best;
    for (const step of steps) {
      if (step.applies?.(best) ?? true) {
        best = await improve(best, step, pairs, options, trials);
      }
    }
    if (best === before) {
      break;
    }
  }
  const phases: Phase[] = ["prefill", "few", "decode"];
  if (best === start) {
    return { settings: start, trials, comparisons: await measureAlone(start, phases, measure, options) };
  }
  // The last word has a comparison of the whole with the start, as gains need not add up.
  const rounds = await pairs.run(start, best, phases, 2 * options.repetitions);
  const settings = isGain(rounds.map(gainOf)) ? best : start;
  const comparisons = phases.map((phase) => compare(rounds, phase, settings === best));
  return { settings, trials, comparisons };
}

async function improve(
  incumbent: Settings,
  step: Step,
  pairs: PairedMeasure,
  { repetitions, quick, onTrial }: SearchOptions,
  trials: Trial[],
): Promise<Settings> {
  let best = incumbent;
  for (const value of quick && !step.hasSeveralHills ? listNeighbours(step, incumbent) : step.values) {
    const from = step.get(best);
    if (value === from) {
      continue;
    }
    const candidate = step.set(best, value);
    const gains = (await pairs.run(best, candidate, step.phases, repetitions, true)).map(gainOf);
    // Of many candidates that are no better, the luckiest wins the first comparison. It has to win another one.
    const isBetter =
      gains.length === repetitions &&
      isGain(gains) &&
      isGain((await pairs.run(best, candidate, step.phases, repetitions + 2)).map(gainOf));
    const trial = { step: step.name, from, to: value, gain: Math.expm1(medianOf(gains)), adopted: isBetter };
    trials.push(trial);
    onTrial?.(trial);
    best = isBetter ? candidate : best;
  }
  return best;
}

function listNeighbours({ values, get }: Step, incumbent: Settings): (string | number)[] {
  const at = values.indexOf(get(incumbent));
  return at < 0 ? [...values] : [values[at - 1], values[at + 1]].filter((value) => value !== undefined);
}

/** One round: both settings measured right after each other. */
interface Round {
  phases: readonly Phase[];
  before: number[]; // seconds, per phase
  after: number[];
}

/** The logarithm of the speed-up, the mean over the phases. */
function gainOf({ before, after }: Round): number {
  return before.reduce((sum, seconds, i) => sum + Math.log(seconds / at(after, i)), 0) / before.length;
}

/** A gain that is worth it, above the noise of these rounds: of three standard errors, and in all rounds but one of five. */
function isGain(gains: readonly number[]): boolean {
  const median = medianOf(gains);
  const spread = 1.4826 * medianOf(gains.map((gain) => Math.abs(gain - median))); // a normal deviation
  const losses = gains.filter((gain) => gain <= 0).length;
  return median > Math.max(leastGain, (3 * spread) / Math.sqrt(gains.length)) && losses <= gains.length / 5;
}

class PairedMeasure {
  readonly #measure: Measure;
  readonly #signal: AbortSignal | undefined;

  constructor(measure: Measure, signal: AbortSignal | undefined) {
    this.#measure = measure;
    this.#signal = signal;
  }

  /** Rounds that take turns in who goes first. `race`: no more of them once the candidate has only lost, twice. */
  async run(a: Settings, b: Settings, phases: readonly Phase[], count: number, race = false): Promise<Round[]> {
    const rounds: Round[] = [];
    while (rounds.length < count) {
      const round: Round = { phases, before: [], after: [] };
      for (const phase of phases) {
        const turns: [Settings, number[]][] = [
          [a, round.before],
          [b, round.after],
        ];
        for (const [settings, seconds] of rounds.length % 2 === 0 ? turns : turns.reverse()) {
          throwIfAborted(this.#signal);
          seconds.push(await this.#measure(settings, phase));
        }
      }
      rounds.push(round);
      if (race && rounds.length >= 2 && rounds.every((done) => gainOf(done) < 0)) {
        break;
      }
    }
    return rounds;
  }
}

function compare(rounds: readonly Round[], phase: Phase, isAdopted: boolean): PhaseComparison {
  const position = at(rounds, 0).phases.indexOf(phase);
  const before = rounds.map((round) => at(round.before, position));
  const after = isAdopted ? rounds.map((round) => at(round.after, position)) : before;
  const gain = Math.expm1(medianOf(before.map((seconds, i) => Math.log(seconds / at(after, i)))));
  return { phase, before: medianOf(before), after: medianOf(after), gain };
}

async function measureAlone(
  settings: Settings,
  phases: readonly Phase[],
  measure: Measure,
  { repetitions, signal }: SearchOptions,
): Promise<PhaseComparison[]> {
  const comparisons: PhaseComparison[] = [];
  for (const phase of phases) {
    const seconds: number[] = [];
    while (seconds.length < repetitions) {
      throwIfAborted(signal);
      seconds.push(await measure(settings, phase));
    }
    comparisons.push({ phase, before: medianOf(seconds), after: medianOf(seconds), gain: 0 });
  }
  return comparisons;
}
