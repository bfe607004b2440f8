// Choices that repeat for a seed, and a hash that decides what is held out.

/** Uniform numbers from 0 to 1 (mulberry32), and what is made of them. */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed | 0;
  }

  next() {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** From 0 to count - 1. */
  below(count) {
    return Math.floor(this.next() * count);
  }

  /** From low to high, both possible. */
  between(low, high) {
    return low + this.below(high - low + 1);
  }

  chance(share) {
    return this.next() < share;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  /** `count` different ones. */
  sample(list, count) {
    const left = [...list];
    return Array.from({ length: Math.min(count, left.length) }, () => left.splice(this.below(left.length), 1)[0]);
  }
}

/** FNV-1a of 32 bits. */
export function hashText(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** One combination in so many is never trained on. */
const heldOutOf = 25;

/** Is this combination of a template and what stands in it held out? It does not depend on any seed. */
export function isHeldOut(...parts) {
  return hashText(parts.join("/")) % heldOutOf === 7;
}

/**
 * A template as text: [a|b] is one of these, which may hold others; {name} what `slots` has. A sentence begins with a
 * capital letter, and "a" before a vowel becomes "an".
 */
export function expand(template, slots, random) {
  let text = template;
  for (let inner = /\[([^[\]]*)\]/.exec(text); inner !== null; inner = /\[([^[\]]*)\]/.exec(text)) {
    text = text.slice(0, inner.index) + random.pick(inner[1].split("|")) + text.slice(inner.index + inner[0].length);
  }
  const filled = text.replace(/\{(\w+)\}/g, (_, name) => {
    if (slots[name] === undefined) {
      throw new Error(`no ${name} for: ${template}`);
    }
    return slots[name];
  });
  return polish(filled);
}

/** Where a capital letter belongs: not in "..." said Tom. */
const sentenceStart =
  /(^"?|\n"?|[.!?] "?|[.!?]" (?!(?:he |she )?(?:said|asked|cried|whispered|called|shouted|answered|thought))"?|[,:] ")([a-z])/g;

/** One space between words, "an" before vowels, capital letters where sentences begin. */
export function polish(text) {
  return text
    .replace(/ +/g, " ")
    .replace(/ ([.,!?])/g, "$1")
    .replace(/\b([Aa]) (?=[aeiou])/g, "$1n ")
    .replace(sentenceStart, (_, before, letter) => before + letter.toUpperCase())
    .trim();
}
