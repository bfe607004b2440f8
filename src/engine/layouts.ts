// How ternary weights lie in memory, by name.

import type { WeightLayout } from "../native/addon.js";

/** As in I2_S files, five to a byte, or two or three at a time for look-up tables; docs/layouts.md has more. */
export const weightLayouts: readonly WeightLayout[] = ["i2_s", "trits", "pairs", "triples"];

const otherNames: ReadonlyMap<string, WeightLayout> = new Map([
  ["i2s", "i2_s"],
  ["trit", "trits"],
  ["tl1", "pairs"],
  ["tl2", "triples"],
]);

/** The layout of that name in any case, which may be an earlier one or that of a file type; undefined if there is none. */
export function findLayout(name: string): WeightLayout | undefined {
  const wanted = name.toLowerCase();
  return weightLayouts.find((layout) => layout === wanted) ?? otherNames.get(wanted);
}
