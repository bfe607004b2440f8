// Checks an addon by itself: node scripts/test-addon.mjs ADDON. Every kernel that this CPU can run must multiply as the
// scalar one does, in every layout.

import { createRequire } from "node:module";
import { resolve } from "node:path";

const addon = createRequire(import.meta.url)(resolve(process.argv[2]));
const layouts = ["i2_s", "trits", "pairs", "triples"];
const kernels = addon.kernels().flatMap(({ name, supported }) => (supported ? [name] : []));

for (const kernel of kernels) {
  for (const layout of layouts) {
    for (const tokens of [1, 5, 32]) {
      const size = { rows: 96, cols: 512, tokens };
      await addon.timeKernel({ kernel, layout, threads: 2, ...size, bytes: 0, repetitions: 1, seconds: 0.001 });
    }
  }
}
console.log(kernels.join(" "));
