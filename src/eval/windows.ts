// A text cut into windows, of which each is evaluated alone and the later part is scored: llama.cpp's rules.

import { checkPredicts, type Model } from "../engine/model.js";
import { checkNumber, maxCount } from "../engine/request.js";
import type { Tokenizer } from "../engine/tokenizer.js";
import { BitnetError } from "../system/errors.js";

export interface WindowOptions {
  contextSize: number;
  /** Windows at most. Default: all of the text. */
  chunks?: number;
  /** Windows begin at multiples of so many tokens, and so many are scored in each. Default: 0, one after the other. */
  stride?: number;
  /** Whether distributions are saved, whose file has no place for a stride. */
  savesLogits?: boolean;
}

export interface Window {
  /** As they are evaluated: the first one may be replaced by BOS. */
  ids: Int32Array;
  /** As the text has them. */
  text: Int32Array;
  /** Place in `ids` of the first token that is scored; all from there on are. */
  from: number;
  /** Where the window begins in the text. */
  start: number;
}

export interface TextPlan {
  ids: Int32Array;
  windows: Window[];
  /** Tokens that are scored in each window. */
  scored: number;
  /** Tokens of a window. */
  windowSize: number;
}

/**
 * The ids of a text as `llama-perplexity -f` has them: less one final line feed, with BOS as the model wants it. Control
 * names are text unless `parseSpecial` is set.
 */
export async function encodeText(
  { info, tokenizer }: Model,
  text: string,
  { parseSpecial = false }: { parseSpecial?: boolean } = {},
): Promise<Int32Array> {
  checkPredicts(info);
  if (tokenizer.info.addEos) {
    throw new BitnetError(
      "UNSUPPORTED",
      "the model appends an end of text to every text: windows cannot be cut out of one",
      {
        hint: "measure it with bitnet eval tasks",
      },
    );
  }
  return await tokenizer.encodeAsync(text.endsWith("\n") ? text.slice(0, -1) : text, { parseSpecial });
}

/** USAGE where the text is too short, the context too long, or the stride leaves out text. */
export function planWindows(
  { tokenizer, info }: Pick<Model, "tokenizer" | "info">,
  ids: Int32Array,
  options: WindowOptions,
): TextPlan {
  const { contextSize, chunks = Number.POSITIVE_INFINITY, stride = 0 } = options;
  checkWindowOptions(info.contextLength, options);
  if (ids.length < 2 * contextSize) {
    const most = Math.floor(ids.length / 2);
    throw new BitnetError(
      "USAGE",
      `the text has ${ids.length} tokens, but a context of ${contextSize} needs at least ${2 * contextSize}`,
      { hint: `take a longer text${most < leastContext ? "" : `, or a context of at most ${most} tokens`}` },
    );
  }
  const windows = stride > 0 ? cutStrided(ids, contextSize, stride) : cutPlain(tokenizer, ids, contextSize);
  const taken = windows.slice(0, chunks < 1 ? undefined : chunks);
  const [first] = taken;
  if (first === undefined) {
    throw new BitnetError("USAGE", `the text of ${ids.length} tokens has no window of ${contextSize} with this stride`);
  }
  return { ids, windows: taken, scored: first.ids.length - first.from, windowSize: first.ids.length };
}

/** In a shorter window no token is scored. */
const leastContext = 3;

function checkWindowOptions(trained: number, { contextSize, stride = 0, savesLogits }: WindowOptions): void {
  checkNumber("contextSize", contextSize, { min: leastContext, max: maxCount, integer: true });
  checkNumber("stride", stride, { min: 0, max: contextSize - 1, integer: true });
  const size = contextSize + Math.floor(stride / 2);
  if (size > trained) {
    throw new BitnetError(
      "USAGE",
      `windows of ${size} tokens are longer than the ${trained} that the model was trained for`,
      {
        hint: "take a smaller context",
      },
    );
  }
  if (savesLogits && stride > 0) {
    throw new BitnetError("USAGE", "distributions are saved of windows without a stride only");
  }
}

function cutPlain(tokenizer: Tokenizer, ids: Int32Array, size: number): Window[] {
  const { addBos, bos } = tokenizer.info;
  return Array.from({ length: Math.floor(ids.length / size) }, (_, i) => {
    const text = ids.subarray(i * size, (i + 1) * size);
    const own = text.slice();
    if (addBos && bos >= 0) {
      own[0] = bos;
    }
    return { ids: own, text, from: Math.floor(size / 2) + 1, start: i * size };
  });
}

/** As llama.cpp does in fact: without a BOS of their own. */
function cutStrided(ids: Int32Array, size: number, stride: number): Window[] {
  const width = size + Math.floor(stride / 2);
  const count = Math.floor((ids.length - width + stride - 1) / stride);
  return Array.from({ length: Math.max(count, 0) }, (_, i) => {
    const text = ids.subarray(i * stride, i * stride + width);
    return { ids: text, text, from: width - stride, start: i * stride };
  });
}
