// An example as token ids, and which of them are learned.
//
// A model meets its prompts as inference encodes them, and writes answers that begin on their own. So each turn up to and
// including its generation prompt is encoded as one, and the answer apart from it: "Assistant: " of the BitNet template
// ends with a space that is a token of its own in a prompt, while in a chat encoded whole it merges with the first word of
// the answer. Counting the tokens of the prompt there would hide that word and train a prompt that inference never sends.

import {
  addBos,
  type ChatPart,
  type ChatTokenizer,
  encodeChat,
  encodeParts,
  encodePlain,
  findMarkers,
  renderParts,
} from "../../chat/encode.js";
import type { ChatFormat } from "../../chat/format.js";
import { at } from "../../system/at.js";
import { BitnetError } from "../../system/errors.js";
import type { Example, TrainingMessage } from "./example.js";
import { locateError } from "./read-files.js";

/** A label of a token that is not learned, as Hugging Face has it. */
export const ignoredLabel = -100;

/** What of a chat is learned: its answers, the last one alone, or every token but BOS. */
export const trainOnNames = ["assistant", "last", "all"] as const;
export type TrainOn = (typeof trainOnNames)[number];

/** Tokens of one document; `labels[i]` is `ids[i]` where it is learned, else ignoredLabel. */
export interface TrainingDocument {
  ids: Int32Array;
  labels: Int32Array;
}

export interface Rendering {
  tokenizer: ChatTokenizer;
  format: ChatFormat;
  trainOn: TrainOn;
}

/**
 * The documents of an example: one, but for templates that write earlier answers in another way than they came (without
 * what was thought); there every answer has a document of its own with the prompt that it answers. Throws BAD_FILE that
 * names the line if nothing of it can be learned.
 */
export function renderExample(example: Example, rendering: Rendering): TrainingDocument[] {
  try {
    const drafts =
      example.kind === "text"
        ? [renderText(example.prompt, example.text, rendering)]
        : new ChatRenderer(rendering, example.messages).render();
    const documents = drafts.filter((draft) => draft.isTrained).map((draft) => draft.toDocument());
    if (documents.length === 0) {
      throw untrainedError(example);
    }
    return documents;
  } catch (error) {
    throw locateError(example.origin, error);
  }
}

function untrainedError(example: Example): BitnetError {
  if (example.kind === "text") {
    return new BitnetError("BAD_FILE", "no token to learn: the text is empty");
  }
  const roles = example.messages.map(({ role }) => role).join(", ");
  return new BitnetError(
    "BAD_FILE",
    `no token to learn: expected an answer of the assistant, got ${roles || "nothing"}`,
    {
      hint: "--skip-bad leaves such examples out, --train-on all learns every token",
    },
  );
}

class Draft {
  readonly #ids: number[] = [];
  readonly #isTrained: boolean[] = [];

  add(ids: Iterable<number>, isTrained: boolean): void {
    for (const id of ids) {
      this.#ids.push(id);
      this.#isTrained.push(isTrained);
    }
  }

  /** Nothing comes before the first token that it could be told from. */
  get isTrained(): boolean {
    return this.#isTrained.lastIndexOf(true) > 0;
  }

  /** What stands behind the last token that is learned changes nothing, and is left out. */
  toDocument(): TrainingDocument {
    const ids = Int32Array.from(this.#ids.slice(0, this.#isTrained.lastIndexOf(true) + 1));
    const labels = ids.map((id, i) => (i > 0 && this.#isTrained[i] === true ? id : ignoredLabel));
    return { ids, labels };
  }
}

/** BOS, the prompt, the text on its own, EOS: as far as the model has them. */
function renderText(prompt: string, text: string, { tokenizer, trainOn }: Rendering): Draft {
  const draft = new Draft();
  draft.add(addBos(encodePlain(prompt, tokenizer), tokenizer), trainOn === "all");
  draft.add(encodePlain(text, tokenizer), true);
  const { eos } = tokenizer.info;
  if (text !== "" && eos >= 0) {
    draft.add([eos], true);
  }
  return draft;
}

/** A document that is being written: all up to the generation prompt for message `answer`. */
interface OpenDocument {
  draft: Draft;
  prompt: readonly ChatPart[];
  /** Index of the message that follows. */
  answer: number;
}

class ChatRenderer {
  readonly #rendering: Rendering;
  readonly #messages: readonly TrainingMessage[];
  readonly #markers: readonly string[];
  readonly #trainsAll: boolean;

  constructor(rendering: Rendering, messages: readonly TrainingMessage[]) {
    this.#rendering = rendering;
    this.#messages = messages;
    this.#markers = markersOf(rendering);
    this.#trainsAll = rendering.trainOn === "all";
  }

  render(): Draft[] {
    const drafts: Draft[] = [];
    let open: OpenDocument | undefined;
    for (const [index, { role }] of this.#messages.entries()) {
      if (role === "assistant") {
        const prompt = this.#parts(this.#messages.slice(0, index), true);
        if (open !== undefined && !this.#continue(open, prompt)) {
          drafts.push(this.#finish(open));
          open = undefined;
        }
        open = open === undefined ? this.#begin(prompt, index) : { ...open, prompt, answer: index };
      }
    }
    drafts.push(...(open === undefined ? [] : [this.#finish(open)]));
    return this.#trainsAll && drafts.length !== 1 ? [this.#renderWhole()] : drafts;
  }

  #parts(messages: readonly TrainingMessage[], addGenerationPrompt: boolean): ChatPart[] {
    const { format, tokenizer } = this.#rendering;
    const plain = messages.map(({ role, content }) => ({ role, content }));
    return renderParts(format, tokenizer, plain, addGenerationPrompt);
  }

  #encode(parts: readonly ChatPart[]): number[] {
    return encodeParts(parts, this.#rendering.tokenizer, this.#markers);
  }

  #begin(prompt: readonly ChatPart[], answer: number): OpenDocument {
    const draft = new Draft();
    draft.add(addBos(this.#encode(prompt), this.#rendering.tokenizer), this.#trainsAll);
    return { draft, prompt, answer };
  }

  #isTrained(answer: number): boolean {
    const isLast = this.#messages.findLastIndex(({ role }) => role === "assistant") === answer;
    const isWanted = this.#rendering.trainOn === "last" ? isLast : at(this.#messages, answer).isTrained;
    return this.#trainsAll || isWanted;
  }

  /** Adds the answer and what follows it in `parts`; false if they do not go on where the document stands. */
  #continue({ draft, prompt, answer }: OpenDocument, parts: readonly ChatPart[], withRest = true): boolean {
    const lead = leadOf(prompt, parts);
    const [written, closing, ...rest] = parts.slice(prompt.length);
    if (lead === undefined || written?.content !== true || closing === undefined) {
      return false;
    }
    const { end, after } = this.#splitClosing(closing.text);
    draft.add(this.#encodeAnswer(prompt, lead, written.text), this.#isTrained(answer));
    draft.add(end, this.#isTrained(answer));
    if (withRest) {
      draft.add(this.#encode([{ text: after, content: false }, ...rest]), this.#trainsAll);
    }
    return true;
  }

  /** Ends a document with the answer that it stands at. */
  #finish(open: OpenDocument): Draft {
    const end = this.#trainsAll ? this.#messages.length : open.answer + 1;
    const parts = this.#parts(this.#messages.slice(0, end), false);
    if (!this.#continue(open, parts, this.#trainsAll)) {
      this.#addRewritten(open);
    }
    return open.draft;
  }

  /** The template writes the answer in its own way: it is learned as it is, and ends as a plain answer would. */
  #addRewritten({ draft, prompt, answer }: OpenDocument): void {
    const message = at(this.#messages, answer);
    const messages = this.#messages.slice(0, answer + 1);
    const plain = this.#parts(
      messages.map((given) => (given.role === "assistant" ? { ...given, content: "Yes." } : given)),
      false,
    );
    const place = plain.findLastIndex(({ content }) => content);
    const { end } = this.#splitClosing(place < 0 ? "" : (plain[place + 1]?.text ?? ""));
    draft.add(this.#encodeAnswer(prompt, "", message.content.trim()), this.#isTrained(answer));
    draft.add(end, this.#isTrained(answer));
  }

  /** Without the tag that opens the thinking, where the prompt has it already. */
  #encodeAnswer(prompt: readonly ChatPart[], lead: string, text: string): number[] {
    const tag = this.#rendering.format.thinking?.open;
    const isOpened = tag !== undefined && prompt.at(-1)?.text.trimEnd().endsWith(tag) === true && text.startsWith(tag);
    const content = isOpened ? text.slice(tag.length).trimStart() : text;
    return this.#encode([
      { text: lead, content: false },
      { text: content, content: true },
    ]);
  }

  /** The token that ends an answer, which the model has to write itself, and what the template has behind it. */
  #splitClosing(closing: string): { end: number[]; after: string } {
    const { tokenizer } = this.#rendering;
    const text = closing.trimStart();
    const [first] = encodePlain(text, tokenizer, true);
    const { eos, eog } = tokenizer.info;
    if (first !== undefined && (tokenizer.isEog(first) || first === eos)) {
      return { end: [first], after: text.slice(tokenizer.piece(first, { special: true }).length) };
    }
    const own = eos >= 0 ? eos : eog[0];
    return { end: own === undefined ? [] : [own], after: closing };
  }

  /** Every token of a chat that is not written in one piece, or has no answer. */
  #renderWhole(): Draft {
    const { format, tokenizer } = this.#rendering;
    const plain = this.#messages.map(({ role, content }) => ({ role, content }));
    const draft = new Draft();
    draft.add(encodeChat(format, tokenizer, plain, false), true);
    return draft;
  }
}

/**
 * What the template writes between a generation prompt and the answer, which the model has to write then: a space in
 * "[/INST] Hello". undefined: `parts` do not begin with the prompt.
 */
function leadOf(prompt: readonly ChatPart[], parts: readonly ChatPart[]): string | undefined {
  const last = prompt.length - 1;
  const isSame = prompt.every(
    ({ text, content }, i) =>
      content === parts[i]?.content && (i === last ? parts[i]?.text.startsWith(text) : text === parts[i]?.text),
  );
  return isSame ? (parts[last]?.text.slice(prompt[last]?.text.length) ?? "") : undefined;
}

const known = new WeakMap<ChatFormat, readonly string[]>();

/** The same for all examples of a run. */
function markersOf({ format, tokenizer }: Rendering): readonly string[] {
  const markers = known.get(format) ?? findMarkers(format, tokenizer);
  known.set(format, markers);
  return markers;
}
