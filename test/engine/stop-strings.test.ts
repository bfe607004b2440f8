import fc from "fast-check";
import { expect, test } from "vitest";
import { StopMatcher } from "../../src/engine/stop-strings.js";

/** Feeds pieces until a stop string is found; returns all text and the stop string. */
function feed(stops: string[], pieces: string[]) {
  const matcher = new StopMatcher(stops);
  let text = "";
  for (const piece of pieces) {
    const match = matcher.push(piece);
    text += match.text;
    if (match.stop !== undefined) {
      return { text, stop: match.stop };
    }
  }
  return { text: text + matcher.flush(), stop: undefined };
}

/** The definition: the stop string that ends first, of those the longest; text up to its beginning. */
function expected(stops: string[], text: string) {
  for (let end = 0; end <= text.length; end++) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    const stop = ending.sort((a, b) => b.length - a.length)[0];
    if (stop !== undefined) {
      return { text: text.slice(0, end - stop.length), stop };
    }
  }
  return { text, stop: undefined };
}

test("passes text through when there are no stop strings", () => {
  expect(new StopMatcher([]).push("abc")).toEqual({ text: "abc" });
});

test("finds a stop string spread over pieces and shows none of it", () => {
  expect(feed(["User:"], ["Hi.\nU", "se", "r: more"])).toEqual({ text: "Hi.\n", stop: "User:" });
});

test("holds back only what may be the beginning of a stop string", () => {
  const matcher = new StopMatcher(["END"]);
  expect(matcher.push("abE").text).toBe("ab");
  expect(matcher.push("Nope").text).toBe("ENope");
});

test("gives back what was held when the text ends", () => {
  const matcher = new StopMatcher(["END"]);
  expect(matcher.push("xEN").text).toBe("x");
  expect(matcher.flush()).toBe("EN");
});

test("equals the definition, however the text is cut into pieces", () => {
  const text = (maxLength: number, minLength = 0) =>
    fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength, maxLength });
  const stops = fc.array(text(4, 1), { maxLength: 3 });
  fc.assert(
    fc.property(stops, fc.array(text(6), { maxLength: 10 }), (stops, pieces) => {
      expect(feed(stops, pieces)).toEqual(expected(stops, pieces.join("")));
    }),
    { numRuns: 1000 },
  );
});
