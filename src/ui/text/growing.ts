// The blocks of a text that grows. A block that another one follows is finished; only what comes after the last
// finished one is parsed again.

import { type Block, blocksOf } from "./blocks.js";

export class GrowingText {
  private finished: Block[] = [];
  /** Characters of the text that the finished blocks cover. */
  private covered = 0;
  private text = "";

  /** The blocks of `text`. Finished ones are the same objects as before. */
  update(given: string): Block[] {
    const text = given.replace(/\r\n?/g, "\n"); // as the parser does
    if (!text.startsWith(this.text)) {
      this.finished = [];
      this.covered = 0;
    }
    this.text = text;
    const blocks = blocksOf(text.slice(this.covered), this.finished.length);
    for (const [i, block] of blocks.slice(0, -1).entries()) {
      const at = text.indexOf(block.source, this.covered);
      if (at < 0) {
        return [...this.finished, ...blocks.slice(i)];
      }
      this.covered = at + block.source.length;
      this.finished.push(block);
    }
    return [...this.finished, ...blocks.slice(-1)];
  }
}
