// Values that nobody expects, in places where others stood.

/** One of these stands in for whatever was there. */
const odd: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  0.5,
  1e308,
  2 ** 53,
  "",
  "-1",
  "\ud800",
  "\u0000",
  "__proto__",
  "x".repeat(5000),
  [],
  [[[]]],
  {},
  { __proto__: null, constructor: 1, toString: [] },
  Array.from({ length: 1500 }, () => ({})),
];

type Random = () => number;

/** A copy of a value of JSON in which one place is another value, is gone, is there twice, or has another name. */
export function mutateJson(value: unknown, random: Random): unknown {
  const copy: unknown = structuredClone(value);
  const places = listPlaces(copy);
  const place = pick(places, random);
  if (place === undefined) {
    return pick(odd, random);
  }
  const { parent, key } = place;
  const there: unknown = Reflect.get(parent, key);
  const change = Math.floor(random() * 6);
  if (change === 0 && Array.isArray(parent)) {
    parent.splice(Number(key), 1);
  } else if (change === 0) {
    Reflect.deleteProperty(parent, key);
  } else if (change === 1 && Array.isArray(parent)) {
    parent.splice(Number(key), 0, there);
  } else if (change === 1) {
    Reflect.deleteProperty(parent, key);
    Reflect.set(parent, pick([`${key}x`, key.toUpperCase(), "", "text", "messages"], random) ?? "", there);
  } else if (change === 2) {
    // Another part of the same value, where it has the right form and the wrong place.
    const other = pick(places, random) ?? place;
    Reflect.set(parent, key, structuredClone(Reflect.get(other.parent, other.key)));
  } else if (change === 3 && typeof there === "number") {
    Reflect.set(parent, key, there * (pick([-1, 2, 1e6, 1e15, 0.999], random) ?? 1));
  } else {
    Reflect.set(parent, key, pick(odd, random));
  }
  return copy;
}

interface Place {
  parent: object;
  key: string;
}

function listPlaces(value: unknown): Place[] {
  if (typeof value !== "object" || value === null) {
    return [];
  }
  return Object.keys(value).flatMap((key) => [{ parent: value, key }, ...listPlaces(Reflect.get(value, key))]);
}

/** Some bytes are others, are gone, or are there twice; now and then the end is missing. */
export function mutateBytes(bytes: Uint8Array, random: Random): Buffer {
  let changed = Buffer.from(bytes);
  for (let count = 1 + Math.floor(random() * 4); count > 0; count--) {
    const at = Math.floor(random() * changed.length);
    const some = 1 + Math.floor(random() * 8);
    const change = random();
    if (change < 0.6) {
      changed.fill(Math.floor(random() * 256), at, at + (change < 0.4 ? 1 : some));
    } else {
      const from = change < 0.8 ? at + some : at;
      const to = change < 0.8 ? at : at + some;
      changed = Buffer.concat([changed.subarray(0, to), changed.subarray(from)]);
    }
  }
  return random() < 0.15 ? changed.subarray(0, Math.floor(random() * changed.length)) : changed;
}

function pick<Item>(items: readonly Item[], random: Random): Item | undefined {
  return items[Math.floor(random() * items.length)];
}
