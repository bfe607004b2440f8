// A line that tells what is going on and vanishes: where the cursor stands, on a terminal only.

import { dimmed, isScreen, type OutputStream } from "./output.js";
import { cutLine } from "./width.js";

const eraseLine = "\r\u001b[2K";

export class StatusLine {
  readonly #stream: OutputStream;
  readonly #isOn: boolean;
  #isShown = false;

  constructor(stream: OutputStream, isOn: boolean) {
    this.#stream = stream;
    this.#isOn = isOn && isScreen(stream);
  }

  show(text: string): void {
    if (this.#isOn) {
      const line = cutLine(text, (this.#stream.columns || 80) - 1);
      this.#stream.write(`${eraseLine}${dimmed(line, this.#stream)}`);
      this.#isShown = true;
    }
  }

  clear(): void {
    if (this.#isShown) {
      this.#stream.write(eraseLine);
      this.#isShown = false;
    }
  }
}
