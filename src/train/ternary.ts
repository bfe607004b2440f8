// Ternary weights of a float matrix, as training, conversion and Hugging Face's classes compute them, and how a matrix is
// rounded to bf16 without changing one of them.

import { fromBf16, toBf16 } from "../checkpoint/floats.js";
import { at } from "../system/at.js";

/** A matrix as ternary weights. */
export interface TernaryMatrix {
  scale: number; // what +1 stands for
  codes: Uint8Array; // 0, 1, 2 for -1, 0, +1, row-major
}

export interface TernaryCounts {
  minus: number;
  zero: number;
  plus: number;
}

const leastScale = Math.fround(1e-5); // as BitNet defines it
const lanes = 8; // partial sums of a row, as the core has them: the same bits

/**
 * The scale is the mean magnitude, of a sum in f64; the codes are W times 1 / scale in f32, rounded half to even and clipped:
 * what is above one half is +1.
 */
export function ternarize(values: Float32Array, cols: number): TernaryMatrix {
  let sum = 0;
  for (let row = 0; row < values.length; row += cols) {
    sum += sumOfRow(values, row, cols);
  }
  const scale = Math.max(Math.fround(sum / values.length), leastScale);
  return { scale, codes: codesOf(values, scale) };
}

function sumOfRow(values: Float32Array, start: number, cols: number): number {
  const sums = new Float64Array(lanes);
  for (let i = 0; i < cols; i++) {
    sums[i % lanes] = (sums[i % lanes] ?? 0) + Math.abs(values[start + i] ?? 0);
  }
  return sums.reduce((total, lane) => total + lane, 0);
}

function codesOf(values: Float32Array, scale: number): Uint8Array {
  const factor = Math.fround(1 / scale);
  const codes = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const scaled = Math.fround((values[i] ?? 0) * factor);
    codes[i] = scaled > 0.5 ? 2 : scaled < -0.5 ? 0 : 1;
  }
  return codes;
}

export function countCodes(codes: Uint8Array): TernaryCounts {
  const counts = [0, 0, 0];
  for (const code of codes) {
    counts[code] = (counts[code] ?? 0) + 1;
  }
  return { minus: at(counts, 0), zero: at(counts, 1), plus: at(counts, 2) };
}

/** How many codes differ. */
export function countChanges(before: Uint8Array, after: Uint8Array): number {
  let changed = 0;
  for (let i = 0; i < before.length; i++) {
    changed += before[i] === after[i] ? 0 : 1;
  }
  return changed;
}

export interface RoundedMaster {
  halves: Uint16Array; // bf16
  /** Weights whose ternary weight rounding alone would have changed. */
  flips: number;
  /** Weights that are not the nearest bf16 number. */
  nudged: number;
}

const mostRounds = 16;

/**
 * A master in bf16 with the ternary weights that it had. Where rounding would move a weight over the threshold, the bf16
 * number on its own side of that is taken: one step away. What is moved changes the mean a little, so this is repeated until
 * nothing flips.
 */
export function roundMaster(values: Float32Array, cols: number): RoundedMaster {
  const { codes } = ternarize(values, cols);
  const halves = toBf16(values);
  const nudged = new Set<number>();
  let flips = 0;
  for (let round = 0; round < mostRounds; round++) {
    const rounded = ternarize(fromBf16(halves), cols).codes;
    let moved = 0;
    for (let i = 0; i < codes.length; i++) {
      const [is, wanted] = [rounded[i] ?? 0, codes[i] ?? 0];
      if (is !== wanted) {
        halves[i] = stepTowards(at(halves, i), wanted - is);
        nudged.add(i);
        moved++;
      }
    }
    flips = round === 0 ? moved : flips;
    if (moved === 0) {
      break;
    }
  }
  return { halves, flips, nudged: nudged.size };
}

/** The next bf16 number above or below. Magnitudes are ordered as their bits are. */
function stepTowards(half: number, direction: number): number {
  const isNegative = half >= 0x8000;
  return isNegative === direction < 0 ? half + 1 : half - 1;
}
