import { expect, test } from "vitest";
import { at } from "../../src/system/at.js";

test("an element that should be there and is not is INTERNAL, an empty one is an element", () => {
  expect([at(["", "a"], 0), at([0], 0), at(Int32Array.of(7), 0)]).toEqual(["", 0, 7]);
  for (const i of [1, -1, 0.5]) {
    expect(() => at([5], i)).toThrow(expect.objectContaining({ code: "INTERNAL" }));
  }
});
