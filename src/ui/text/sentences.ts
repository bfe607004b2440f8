// Sentences for screen readers: an answer is read out as its sentences end, not token by token.

// Latin, CJK, Arabic and Urdu, Devanagari. A dot inside a number or a name ends nothing: white space has to follow.
const end = /[.!?…]["')\]]*\s|[。！？]|[۔؟।]\s?|\n\s*\n|\n(?=[-*#\d])/g;

/** Gives each sentence of a growing text once. */
export class SentenceReader {
  private spoken = 0;

  /** The sentences that are complete in `text` and were not given before; the rest, too, if it is the end. */
  take(text: string, isEnd: boolean): string[] {
    const sentences: string[] = [];
    end.lastIndex = this.spoken;
    for (let match = end.exec(text); match !== null; match = end.exec(text)) {
      sentences.push(text.slice(this.spoken, end.lastIndex));
      this.spoken = end.lastIndex;
    }
    if (isEnd) {
      sentences.push(text.slice(this.spoken));
      this.spoken = text.length;
    }
    return sentences.map(withoutMarks).filter((sentence) => sentence !== "");
  }
}

function withoutMarks(text: string): string {
  return text
    .replace(/^\s*(```\w*|[#>*-]+\s)/gm, "")
    .replace(/[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}/g, "")
    .replace(/\s+/g, " ")
    .trim();
}
