// Logits of the 2B shape against bitnet.cpp's. The file is 1.2 GB and is made by a script, so this runs only where it is
// named: BITNET_2B=FILE npx vitest run golden-2b

import { describe, expect, test } from "vitest";
import { loadModel } from "../../src/engine/model.js";
import { argmax, findFixture, readFixture, readFloats, relativeRms } from "../support/fixtures.js";

interface GoldenCase {
  ids: number[];
  logits: string;
  top5: [id: number, logit: number][];
}

const path = process.env.BITNET_2B;
const list = findFixture("golden", "golden-2b.json");
const bound = 0.08; // for random weights, through 30 layers: see test/fixtures/golden/README.md

if (path === undefined || list === undefined) {
  const missing = path === undefined ? "BITNET_2B names no file" : "golden-2b.json is not there";
  process.stderr.write(`skipped: the logits of the 2B shape (${missing})\n`);
}

describe.skipIf(path === undefined || list === undefined)("the 2B shape", () => {
  test.each([1, 2])("gives bitnet.cpp's logits with %i threads", async (threads) => {
    await using model = await loadModel(path ?? "", { threads });
    for (const golden of JSON.parse(readFixture("golden", "golden-2b.json").toString()) as GoldenCase[]) {
      await using session = model.createSession({ contextSize: 16 });
      await session.prefill(golden.ids);
      const logits = session.logits();
      expect(relativeRms(logits, readFloats(findFixture("golden", golden.logits) ?? ""))).toBeLessThanOrEqual(bound);
      expect(argmax(logits)).toBe(golden.top5[0]?.[0]);
      // Sampling takes a shortcut through a large head; it must come to the same.
      const { tokens } = await session.complete(golden.ids, { temperature: 0, maxTokens: 1 });
      expect(tokens).toEqual([argmax(logits)]);
    }
  });
});
