// Prompts of about so many tokens, each different from the first word on, so that no server knows the beginning of one.

import { BitnetError } from "../system/errors.js";
import { Random } from "./random.js";
import type { LoadClient } from "./serve-client.js";
import { asObject } from "./serve-events.js";

// Short common words, which vocabularies have as one token with the space before them.
const words = (
  "time year people way day man thing woman life child world school state family student group country problem hand " +
  "part place case week company system program question work number night point home water room mother area money " +
  "story fact month lot right study book eye job word business issue side kind head house service friend father power " +
  "hour game line end member law car city name team minute idea kid body back parent face level office door health " +
  "person art war history party result change morning reason research girl guy moment air teacher force good new first " +
  "last long great little own other old big high small large next early young few public bad same able"
).split(" ");

const tried = 256; // words whose tokens are counted

/** Makes the prompts of one length. */
export class PromptMaker {
  readonly #random: Random;
  readonly #count: number; // words
  readonly #isRepeated: boolean;
  #repeated?: string;

  constructor(count: number, { seed, isRepeated }: { seed: number; isRepeated: boolean }) {
    this.#count = count;
    this.#random = new Random(seed);
    this.#isRepeated = isRepeated;
  }

  next(): string {
    if (this.#isRepeated) {
      this.#repeated ??= makeText(this.#count, this.#random);
      return this.#repeated;
    }
    return makeText(this.#count, this.#random);
  }
}

function makeText(count: number, random: Random): string {
  return Array.from({ length: count }, () => words[Math.floor(random.next() * words.length)]).join(" ");
}

/** Tokens of a word and the space before it, as the server's /tokenize counts them; undefined where it has none. */
export async function measureTokensPerWord(
  client: LoadClient,
  model: string | undefined,
  signal: AbortSignal,
): Promise<number | undefined> {
  const text = makeText(tried, new Random(7));
  // llama.cpp's keys, then vLLM's.
  for (const body of [{ content: text }, { model, prompt: text, add_special_tokens: false }]) {
    const { isGood, text: answer } = await client.fetch("/tokenize", body, signal);
    const count = isGood ? countTokens(answer) : undefined;
    if (count !== undefined) {
      return count / tried;
    }
  }
  return undefined;
}

function countTokens(answer: string): number | undefined {
  try {
    const { tokens } = asObject(JSON.parse(answer));
    return Array.isArray(tokens) && tokens.length > 0 ? tokens.length : undefined;
  } catch {
    return undefined;
  }
}

/** Words that make about `tokens` tokens. Throws USAGE where that is less than one. */
export function wordsFor(tokens: number, tokensPerWord: number | undefined): number {
  const count = Math.round(tokens / (tokensPerWord ?? 1));
  if (count < 1) {
    throw new BitnetError("USAGE", `a prompt of ${tokens} tokens has no room for a word`, {
      hint: `a word takes ${(tokensPerWord ?? 1).toFixed(1)} tokens here`,
    });
  }
  return count;
}
