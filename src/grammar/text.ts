// Characters as the grammar syntax writes them.

/** Ascending ranges of code points, both ends included. */
export type CharacterSet = readonly (readonly [least: number, most: number])[];

const maxCodePoint = 0x10_ffff;

/** A text in quotes. */
export function quoteText(text: string): string {
  return `"${[...text].map((character) => escapeCodePoint(character.codePointAt(0) ?? 0)).join("")}"`;
}

/** A class of characters; undefined for none. */
export function writeClass(set: CharacterSet): string | undefined {
  if (set.length === 0) {
    return undefined;
  }
  const ranges = set.map(([least, most]) =>
    least === most ? escapeCodePoint(least) : `${escapeCodePoint(least)}-${escapeCodePoint(most)}`,
  );
  return `[${ranges.join("")}]`;
}

function escapeCodePoint(code: number): string {
  const character = String.fromCodePoint(code);
  return /^[A-Za-z0-9 _,.:;{}()+*?/<>=%&'@!~#$]$/.test(character)
    ? character
    : `\\U${code.toString(16).padStart(8, "0")}`;
}

export function normalizeSet(ranges: CharacterSet): CharacterSet {
  const merged: [number, number][] = [];
  for (const [least, most] of [...ranges].sort(([a], [b]) => a - b)) {
    const last = merged.at(-1);
    if (last !== undefined && least <= last[1] + 1) {
      last[1] = Math.max(last[1], most);
    } else {
      merged.push([least, most]);
    }
  }
  return merged;
}

export function complementSet(set: CharacterSet): CharacterSet {
  const result: [number, number][] = [];
  let next = 0;
  for (const [least, most] of normalizeSet(set)) {
    if (least > next) {
      result.push([next, least - 1]);
    }
    next = most + 1;
  }
  return next > maxCodePoint ? result : [...result, [next, maxCodePoint]];
}

export function intersectSets(a: CharacterSet, b: CharacterSet): CharacterSet {
  return complementSet([...complementSet(a), ...complementSet(b)]);
}
