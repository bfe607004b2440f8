// Text to token ids and back, by the native tokenizer built from a GGUF file's own tables.

import { loadAddon, type NativeDecoder, type NativeTokenizer, type NativeTokenizerInfo } from "../native/addon.js";
import { BitnetError, converting, convertingAsync } from "../system/errors.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";

export type TokenizerInfo = NativeTokenizerInfo;

export interface EncodeOptions {
  /**
   * Add the tokens that the model wants at the beginning and end (BOS, EOS). BOS is added once: a text that brings its own,
   * read with `parseSpecial`, gets no second one. Default: true.
   */
  addSpecial?: boolean;
  /** Read the names of control tokens in the text as those tokens; off, they are plain text. Default: false. */
  parseSpecial?: boolean;
}

const encodeOptions: OptionNames<EncodeOptions> = { addSpecial: true, parseSpecial: true };

/** What comes from others is bounded: so many characters take seconds, and some 16 times their bytes of memory. */
const maxAsyncLength = 2 ** 25;

export interface DecodeOptions {
  /** Write control tokens as their names instead of nothing. Default: false. */
  special?: boolean;
}

const decodeOptions: OptionNames<DecodeOptions> = { special: true };

export interface TokenizerOptions {
  /** Pre-tokenizer to use instead of the one that the file names. */
  tokenizerPre?: string;
}

const tokenizerOptions: OptionNames<TokenizerOptions> = { tokenizerPre: true };

export class Tokenizer {
  readonly #native: NativeTokenizer;
  readonly #eog: ReadonlySet<number>;
  readonly info: TokenizerInfo;

  constructor(native: NativeTokenizer) {
    this.#native = native;
    this.info = native.info;
    this.#eog = new Set(this.info.eog);
  }

  encode(text: string | Uint8Array, options: EncodeOptions = {}): Int32Array {
    checkOptionNames("encode", options, encodeOptions);
    const { addSpecial = true, parseSpecial = false } = options;
    const ids = converting(() => this.#native.encode(text, addSpecial, parseSpecial));
    return addSpecial && parseSpecial ? this.#withOneBos(ids) : ids;
  }

  /** The same ids without keeping JavaScript's thread busy: for long texts in a program that serves others meanwhile. */
  async encodeAsync(text: string | Uint8Array, options: EncodeOptions = {}): Promise<Int32Array> {
    checkOptionNames("encodeAsync", options, encodeOptions);
    const { addSpecial = true, parseSpecial = false } = options;
    if (text.length > maxAsyncLength) {
      throw new BitnetError("USAGE", `the text has ${text.length} characters: expected at most ${maxAsyncLength}`);
    }
    const ids = await convertingAsync(() => this.#native.encodeAsync(text, addSpecial, parseSpecial));
    return addSpecial && parseSpecial ? this.#withOneBos(ids) : ids;
  }

  #withOneBos(ids: Int32Array): Int32Array {
    const { addBos, bos } = this.info;
    const isDouble = addBos && bos >= 0 && ids[0] === bos && ids[1] === bos;
    return isDouble ? ids.slice(1) : ids;
  }

  /** The text of whole ids; bytes that are not UTF-8 become U+FFFD. */
  decode(ids: Int32Array | readonly number[], options: DecodeOptions = {}): string {
    checkOptionNames("decode", options, decodeOptions);
    const checked = checkTokens(ids, this.info.vocabSize);
    return converting(() => this.#native.decode(checked, options.special ?? false));
  }

  /** The text of one token; part of a character becomes U+FFFD. */
  piece(id: number, options: DecodeOptions = {}): string {
    checkOptionNames("piece", options, decodeOptions);
    return converting(() => this.#native.piece(id, options.special ?? false));
  }

  /** The bytes of one token, which may be a part of a character; a control token has those of its name. */
  bytes(id: number): Uint8Array {
    return converting(() => this.#native.bytes(id));
  }

  /** The vocabulary entry itself, in the notation of the file. */
  token(id: number): string {
    return converting(() => this.#native.token(id));
  }

  /** Does this token end a generation? */
  isEog(id: number): boolean {
    return this.#eog.has(id);
  }

  /** A decoder for a stream of ids that never returns half a character. */
  createDecoder(options: DecodeOptions = {}): NativeDecoder {
    checkOptionNames("createDecoder", options, decodeOptions);
    return converting(() => this.#native.createDecoder(options.special ?? false));
  }
}

/** Opens the tokenizer of a GGUF file; the file may hold a vocabulary only. */
export function openTokenizer(path: string, options: TokenizerOptions = {}): Tokenizer {
  checkOptionNames("openTokenizer", options, tokenizerOptions);
  return new Tokenizer(converting(() => loadAddon().openTokenizer(path, options)));
}

/** `ids` as the native side wants them; USAGE if one is not a token id of a vocabulary of `vocabSize`. */
export function checkTokens(ids: Int32Array | readonly number[], vocabSize: number): Int32Array {
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= vocabSize) {
      throw new BitnetError("USAGE", `${id} is not a token id: expected an integer from 0 to ${vocabSize - 1}`);
    }
  }
  return ids instanceof Int32Array ? ids : Int32Array.from(ids);
}
