// Ids of millions of lines: 64 bits of each one's hash, and a number that goes with it.

// Above this share of used places searches become long.
const fullest = 0.7;
const firstCapacity = 1024; // a power of two

/** Numbers below 2^32, or up to 2^53. */
type Values = Uint32ArrayConstructor | Float64ArrayConstructor;

/** Keys are hashes of at least 8 bytes. 12 or 16 bytes a place, 1.4 to 2.9 places a key. */
export class HashTable {
  readonly #Values: Values;
  #keys = new Uint32Array(2 * firstCapacity);
  #values: Uint32Array | Float64Array;
  #size = 0;

  constructor(values: Values) {
    this.#Values = values;
    this.#values = new values(firstCapacity);
  }

  get size(): number {
    return this.#size;
  }

  get(hash: Uint8Array): number | undefined {
    const [high, low] = keyOf(hash);
    const place = this.#find(high, low);
    return this.#isFree(place) ? undefined : this.#values[place];
  }

  set(hash: Uint8Array, value: number): void {
    const [high, low] = keyOf(hash);
    const place = this.#find(high, low);
    if (this.#isFree(place)) {
      this.#size++;
    }
    this.#put(place, high, low, value);
    if (this.#size > fullest * this.#values.length) {
      this.#grow();
    }
  }

  #isFree(place: number): boolean {
    return this.#keys[2 * place] === 0 && this.#keys[2 * place + 1] === 0;
  }

  /** The place of the key, or the free one where it belongs. */
  #find(high: number, low: number): number {
    const last = this.#values.length - 1;
    let place = (high ^ low) & last;
    while (!this.#isFree(place) && !(this.#keys[2 * place] === high && this.#keys[2 * place + 1] === low)) {
      place = (place + 1) & last;
    }
    return place;
  }

  #put(place: number, high: number, low: number, value: number): void {
    this.#keys[2 * place] = high;
    this.#keys[2 * place + 1] = low;
    this.#values[place] = value;
  }

  #grow(): void {
    const [keys, values] = [this.#keys, this.#values];
    this.#keys = new Uint32Array(2 * keys.length);
    this.#values = new this.#Values(2 * values.length);
    for (const [i, value] of values.entries()) {
      const [high = 0, low = 0] = [keys[2 * i], keys[2 * i + 1]];
      if (high !== 0 || low !== 0) {
        this.#put(this.#find(high, low), high, low, value);
      }
    }
  }
}

/** Two halves, never both 0, which is a free place. */
function keyOf(hash: Uint8Array): [high: number, low: number] {
  const view = new DataView(hash.buffer, hash.byteOffset, hash.byteLength);
  const [high, low] = [view.getUint32(0), view.getUint32(4)];
  return [high, high === 0 && low === 0 ? 1 : low];
}
