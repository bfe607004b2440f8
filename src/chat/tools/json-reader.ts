// JSON that comes character by character, read as coroutines: each `yield` is given the next character. What is read is
// held to JSON by a grammar, so nothing is checked here; other text is passed over or handed on without harm.

/** A reader on its way. */
export type Steps<Result = void> = Generator<undefined, Result, string>;

type Say = (text: string) => void;

const escapes: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
const replacement = "\ufffd";

export class JsonReader {
  #unread = "";

  *next(): Steps<string> {
    if (this.#unread === "") {
      return yield;
    }
    const first = this.#unread.charAt(0);
    this.#unread = this.#unread.slice(1);
    return first;
  }

  /** Puts text back. */
  unread(text: string): void {
    this.#unread = text + this.#unread;
  }

  *skipPast(wanted: string): Steps {
    while ((yield* this.next()) !== wanted) {}
  }

  *#nextVisible(): Steps<string> {
    for (;;) {
      const next = yield* this.next();
      if (next.trim() !== "") {
        return next;
      }
    }
  }

  /** A member's name, with its colon. */
  *readKey(): Steps<string> {
    let key = "";
    yield* this.readString((text) => {
      key += text;
    });
    yield* this.skipPast(":");
    return key;
  }

  /** What follows a member: a comma or the end of the object. */
  *readEnd(): Steps<string> {
    for (;;) {
      const next = yield* this.next();
      if (next === "," || next === "}") {
        return next;
      }
    }
  }

  /** A string as the text it stands for; half of a surrogate pair, which is no character, becomes U+FFFD. */
  *readString(say: Say): Steps {
    yield* this.skipPast('"');
    let half = "";
    for (;;) {
      const next = yield* this.next();
      if (next === '"') {
        say(half === "" ? "" : replacement);
        return;
      }
      const isEscape = next === "\\";
      const unit = isEscape ? yield* this.#readEscape() : next;
      if (!isEscape) {
        say((half === "" ? "" : replacement) + unit);
        half = "";
      } else if (isLow(unit) && half !== "") {
        say(half + unit);
        half = "";
      } else {
        say(half === "" ? "" : replacement);
        half = isHigh(unit) ? unit : "";
        say(isHigh(unit) ? "" : isLow(unit) ? replacement : unit);
      }
    }
  }

  *#readEscape(): Steps<string> {
    const letter = yield* this.next();
    if (letter !== "u") {
      return escapes[letter] ?? letter;
    }
    let digits = "";
    while (digits.length < 4) {
      digits += yield* this.next();
    }
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  /** Any value as it is written. */
  *readValue(say: Say): Steps {
    const first = yield* this.#nextVisible();
    if (first === '"') {
      say(first);
      yield* this.#copyString(say);
    } else if (first === "{" || first === "[") {
      say(first);
      yield* this.#copyNested(say);
    } else {
      yield* this.#copyWord(first, say);
    }
  }

  *#copyString(say: Say): Steps {
    for (;;) {
      const next = yield* this.next();
      say(next);
      if (next === "\\") {
        say(yield* this.next());
      } else if (next === '"') {
        return;
      }
    }
  }

  *#copyNested(say: Say): Steps {
    for (let depth = 1; depth > 0; ) {
      const next = yield* this.next();
      say(next);
      if (next === '"') {
        yield* this.#copyString(say);
      } else if (next === "{" || next === "[") {
        depth += 1;
      } else if (next === "}" || next === "]") {
        depth -= 1;
      }
    }
  }

  /** A number, true, false or null. What ends it is put back. */
  *#copyWord(first: string, say: Say): Steps {
    for (let next = first; ; next = yield* this.next()) {
      if (/[,}\]\s]/.test(next)) {
        this.unread(next);
        return;
      }
      say(next);
    }
  }
}

function isHigh(unit: string): boolean {
  return unit >= "\ud800" && unit <= "\udbff";
}

function isLow(unit: string): boolean {
  return unit >= "\udc00" && unit <= "\udfff";
}
