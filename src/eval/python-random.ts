// Python's random.Random: the same seed draws the same, so that shots and bootstraps are those of lm-evaluation-harness.
// MT19937 is of Matsumoto and Nishimura (1998); seeding and sampling are those of CPython since 3.2 (Lib/random.py).

const size = 624;
const middle = 397;

export class PythonRandom {
  readonly #state = new Uint32Array(size);
  #next = size;

  /** `seed` is an integer of at most 53 bits; its sign does not matter. */
  constructor(seed: number) {
    const magnitude = Math.abs(seed);
    const high = Math.floor(magnitude / 2 ** 32);
    this.#initByArray(high === 0 ? [magnitude] : [magnitude % 2 ** 32, high]);
  }

  /** random.sample(range(n), k): k different places. */
  sample(n: number, k: number): number[] {
    // A list of n costs less than a set of k up to here.
    const setSize = k > 5 ? 21 + 4 ** Math.ceil(Math.log(k * 3) / Math.log(4)) : 21;
    return n <= setSize ? this.#sampleOfPool(n, k) : this.#sampleOfSet(n, k);
  }

  #sampleOfPool(n: number, k: number): number[] {
    const pool = Array.from({ length: n }, (_, place) => place);
    return Array.from({ length: k }, (_, taken) => {
      const drawn = this.#below(n - taken);
      const result = pool[drawn] ?? 0;
      pool[drawn] = pool[n - taken - 1] ?? 0;
      return result;
    });
  }

  #sampleOfSet(n: number, k: number): number[] {
    const selected = new Set<number>();
    while (selected.size < k) {
      selected.add(this.#below(n));
    }
    return [...selected];
  }

  /** random.choices(range(n), k=k): with replacement. */
  choices(n: number, k: number): number[] {
    return Array.from({ length: k }, () => Math.floor(this.random() * n));
  }

  /** random.random(): 53 bits, from 0 to 1 without 1. */
  random(): number {
    const high = this.#word() >>> 5;
    const low = this.#word() >>> 6;
    return (high * 2 ** 26 + low) / 2 ** 53;
  }

  /** An integer from 0 to n - 1, n below 2^32: as many bits as n has, again and again until they are below it. */
  #below(n: number): number {
    const bits = 32 - Math.clz32(n);
    for (;;) {
      const drawn = this.#word() >>> (32 - bits);
      if (drawn < n) {
        return drawn;
      }
    }
  }

  #initByNumber(seed: number): void {
    const state = this.#state;
    state[0] = seed;
    for (let i = 1; i < size; i++) {
      const before = word(state, i - 1);
      state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
    }
  }

  #initByArray(key: readonly number[]): void {
    this.#initByNumber(19650218);
    const state = this.#state;
    let i = 1;
    const mix = (factor: number) => {
      const before = word(state, i - 1);
      return word(state, i) ^ Math.imul(before ^ (before >>> 30), factor);
    };
    const advance = () => {
      i++;
      if (i >= size) {
        state[0] = word(state, size - 1);
        i = 1;
      }
    };
    for (let k = 0; k < Math.max(size, key.length); k++) {
      const j = k % key.length;
      state[i] = mix(1664525) + (key[j] ?? 0) + j;
      advance();
    }
    for (let k = 0; k < size - 1; k++) {
      state[i] = mix(1566083941) - i;
      advance();
    }
    state[0] = 0x80000000;
  }

  /** The next 32 bits. */
  #word(): number {
    if (this.#next === size) {
      this.#refill();
    }
    let y = word(this.#state, this.#next++);
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  #refill(): void {
    const state = this.#state;
    for (let i = 0; i < size; i++) {
      const y = (word(state, i) & 0x80000000) | (word(state, (i + 1) % size) & 0x7fffffff);
      state[i] = word(state, (i + middle) % size) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}

function word(state: Uint32Array, place: number): number {
  return state[place] ?? 0; // places are always inside
}
