// A reader for the YAML of configuration files: blocks of mappings and lists, plain, quoted and literal texts, comments,
// empty {} and []. It throws at everything else: what a test cannot read it should not accept.

export type Yaml = string | number | boolean | null | Yaml[] | { [key: string]: Yaml };

interface Line {
  indent: number;
  text: string;
  raw: string;
}

/** Every document of a file. */
export function readYaml(text: string): Yaml[] {
  return text
    .split(/^---$/m)
    .map((document) => new Reader(document).read())
    .filter((value) => value !== null);
}

class Reader {
  readonly #lines: Line[];
  #at = 0;

  constructor(text: string) {
    this.#lines = text
      .split("\n")
      .map((raw) => ({ raw, text: raw.trim(), indent: raw.length - raw.trimStart().length }));
  }

  read(): Yaml {
    const value = this.#readBlock(0);
    if (this.#peek() !== undefined) {
      throw this.#unread();
    }
    return value;
  }

  #peek(): Line | undefined {
    while (/^(#|$)/.test(this.#lines[this.#at]?.text ?? "-")) {
      this.#at++;
    }
    return this.#lines[this.#at];
  }

  #unread(): Error {
    return new Error(`cannot read this YAML: ${JSON.stringify(this.#lines[this.#at]?.raw)}`);
  }

  /** What stands at `indent` or further in. */
  #readBlock(least: number): Yaml {
    const line = this.#peek();
    if (line === undefined || line.indent < least) {
      return null;
    }
    return /^-( |$)/.test(line.text) ? this.#readList(line.indent) : this.#readMapping(line.indent);
  }

  #readList(indent: number): Yaml[] {
    const items: Yaml[] = [];
    for (let line = this.#peek(); line?.indent === indent && /^-( |$)/.test(line.text); line = this.#peek()) {
      const rest = line.text.slice(2);
      if (/^[\w./-]+:( |$)/.test(rest)) {
        // A mapping that begins in the line of its dash.
        this.#lines[this.#at] = { raw: line.raw, text: rest, indent: indent + 2 };
        items.push(this.#readMapping(indent + 2));
      } else {
        this.#at++;
        items.push(this.#readValue(rest, indent));
      }
    }
    return items;
  }

  #readMapping(indent: number): Yaml {
    const result: { [key: string]: Yaml } = {};
    for (let line = this.#peek(); line?.indent === indent; line = this.#peek()) {
      const match = /^("?)([\w./-]+)\1:(?: (.*))?$/.exec(line.text);
      if (match === null || Object.hasOwn(result, match[2] ?? "")) {
        throw this.#unread();
      }
      this.#at++;
      // A list may stand as far out as its key.
      const isList =
        match[3] === undefined && this.#peek()?.indent === indent && /^-( |$)/.test(this.#peek()?.text ?? "");
      result[match[2] ?? ""] = isList ? this.#readList(indent) : this.#readValue(match[3] ?? "", indent);
    }
    if ((this.#peek()?.indent ?? 0) > indent) {
      throw this.#unread();
    }
    return result;
  }

  #readValue(written: string, indent: number): Yaml {
    if (written === "" || written.startsWith("#")) {
      return this.#readBlock(indent + 1);
    }
    if (written === "|") {
      return this.#readLiteral(indent);
    }
    let text = written;
    // A folded text goes on in lines that stand further in.
    for (let line = this.#lines[this.#at]; line !== undefined && line.indent > indent && line.text !== ""; ) {
      text += ` ${line.text}`;
      line = this.#lines[++this.#at];
    }
    return readScalar(text);
  }

  #readLiteral(indent: number): string {
    const lines: string[] = [];
    const inner = this.#lines[this.#at]?.indent ?? 0;
    for (let line = this.#lines[this.#at]; line !== undefined; line = this.#lines[++this.#at]) {
      if (line.text !== "" && line.indent <= indent) {
        break;
      }
      lines.push(line.raw.slice(inner));
    }
    return `${lines.join("\n").trimEnd()}\n`;
  }
}

function readScalar(text: string): Yaml {
  if (text.startsWith('"')) {
    return JSON.parse(text) as string;
  }
  if (/^'[^']*'$/.test(text)) {
    return text.slice(1, -1);
  }
  const plain = text.replace(/ +#.*$/, "");
  const known = new Map<string, Yaml>([
    ["{}", {}],
    ["[]", []],
    ["true", true],
    ["false", false],
    ["null", null],
  ]).get(plain);
  if (known !== undefined) {
    return known;
  }
  if (/^[[{&*!|>%@`'"]|: |^(yes|no|on|off|~)$/i.test(plain)) {
    throw new Error(`cannot read this YAML: ${JSON.stringify(text)}`);
  }
  return /^-?\d+(\.\d+)?$/.test(plain) ? Number(plain) : plain;
}
