// Random decisions that are functions of a key and a place, so that a run that goes on needs no state: it asks for the
// step where it stopped and gets what it would have got.

/** Spreads the bits of an integer of 32 bits (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let bits = value | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** One key, from 0 to 2^32 - 1, of several integers. */
export function keyOf(...parts: readonly number[]): number {
  return parts.reduce((key, part) => mix(mix(key ^ mix(part + 0x9e3779b9)) + Math.floor(part / 2 ** 32)), 0x5bd1e995);
}

/** A number from 0 up to but not including 1 for each place. */
export function keyedShare(key: number, place: number): number {
  return keyOf(key, place) / 2 ** 32;
}

const rounds = 6;

/**
 * Where `index` of 0 ... count - 1 goes in the permutation that `key` names: a Feistel network over the next even number
 * of bits, repeated until the result is below `count`.
 */
export function permute(index: number, count: number, key: number): number {
  const half = Math.max(1, Math.ceil(Math.log2(Math.max(2, count)) / 2));
  const mask = 2 ** half - 1;
  let place = index;
  do {
    let left = Math.floor(place / 2 ** half);
    let right = place & mask;
    for (let round = 0; round < rounds; round++) {
      [left, right] = [right, left ^ (mix(right ^ mix(key + round)) & mask)];
    }
    place = left * 2 ** half + right;
  } while (place >= count);
  return place;
}

/** A number of 53 bits that tells lists of ids apart. */
export function hashIds(ids: ArrayLike<number>, seed = 0): number {
  let low = mix(seed ^ 0x3c6ef372);
  let high = mix(seed ^ 0x1b873593);
  for (let i = 0; i < ids.length; i++) {
    low = mix(low ^ Math.imul(ids[i] ?? 0, 0xcc9e2d51));
    high = mix(Math.imul(high, 5) + (ids[i] ?? 0) + 0xe6546b64);
  }
  return (high & 0x1fffff) * 2 ** 32 + low;
}
