// From tokens to the tree: Jinja2's grammar, with the tags that chat templates have in transformers (loop controls and
// "generation"). What only makes sense with more than one template is refused by name.

import type { Expression, MacroParts, Statement, Target } from "./ast.js";
import { ExpressionParser, type KnownNames } from "./expression-parser.js";
import { unsupported } from "./limits.js";
import { TokenReader } from "./token-reader.js";

const foreignTags = ["include", "import", "from", "extends", "block", "autoescape"];

export function parseTemplate(source: string, known: KnownNames): Statement[] {
  return new Parser(source, known).run();
}

class Parser {
  readonly #tokens: TokenReader;
  readonly #expressions: ExpressionParser;
  #loops = 0;

  constructor(source: string, known: KnownNames) {
    this.#tokens = new TokenReader(source);
    this.#expressions = new ExpressionParser(this.#tokens, known);
  }

  run(): Statement[] {
    const statements = this.#parseStatements([]);
    if (!this.#tokens.isAtEnd) {
      throw this.#tokens.unexpected();
    }
    return statements;
  }

  /** Up to one of the tags that `end` names, which is not taken. */
  #parseStatements(end: readonly string[]): Statement[] {
    const statements: Statement[] = [];
    while (!this.#tokens.isAtEnd) {
      const line = this.#tokens.line;
      if (this.#tokens.is("data")) {
        statements.push({ kind: "data", text: this.#tokens.take("data").text, line });
      } else if (this.#tokens.skip("variable")) {
        statements.push({ kind: "print", expression: this.#expressions.parseTuple(), line });
        this.#tokens.take("end");
      } else {
        this.#tokens.take("block");
        if (this.#tokens.is("name", ...end) && end.length > 0) {
          return statements;
        }
        statements.push(this.#tokens.nested(() => this.#parseTag(line)));
        this.#tokens.take("end");
      }
    }
    if (end.length > 0) {
      throw this.#tokens.error(`unexpected end of the template, expected ${end.join(" or ")}`);
    }
    return statements;
  }

  /** The statements inside a tag, and the tag that ends it. Returns which one. */
  #parseBody(...end: string[]): Statement[] {
    this.#tokens.take("end");
    return this.#parseStatements(end);
  }

  #parseTag(line: number): Statement {
    const tag = this.#tokens.take("name").text;
    switch (tag) {
      case "if":
        return this.#expressions.conditionally(() => this.#parseIf(line));
      case "for":
        return this.#parseFor(line);
      case "set":
        return this.#parseSet(line);
      case "with":
        return this.#parseWith(line);
      case "macro":
        return { kind: "macro", macro: this.#parseMacro(this.#tokens.take("name").text, "endmacro"), line };
      case "call":
        return this.#parseCallBlock(line);
      case "filter": {
        const filters = this.#expressions.parseFilters(true);
        const body = this.#parseBody("endfilter");
        this.#tokens.take("name");
        return { kind: "filter-block", filters, body, line };
      }
      case "generation": {
        const body = this.#parseBody("endgeneration");
        this.#tokens.take("name");
        return { kind: "group", body, line };
      }
      case "print":
        return { kind: "print", expression: this.#expressions.parseTuple(), line };
      case "break":
      case "continue":
        if (this.#loops === 0) {
          throw this.#tokens.error(`'${tag}' outside of a loop`);
        }
        return { kind: tag, line };
      default:
        throw foreignTags.includes(tag)
          ? unsupported(`line ${line}: the tag '${tag}'`)
          : this.#tokens.error(`unknown tag '${tag}'`);
    }
  }

  #parseIf(line: number): Statement {
    const branches: [Expression, Statement[]][] = [];
    let otherwise: Statement[] = [];
    for (let tag = "if"; tag !== "endif"; tag = this.#tokens.take("name").text) {
      if (tag === "else") {
        otherwise = this.#parseBody("endif");
      } else {
        const test = this.#expressions.parseTuple({ withCondition: false });
        branches.push([test, this.#parseBody("elif", "else", "endif")]);
      }
    }
    return { kind: "if", branches, otherwise, line };
  }

  #parseFor(line: number): Statement {
    const target = this.#parseTarget(true);
    this.#tokens.take("name", "in");
    const items = this.#expressions.parseTuple({ withCondition: false, end: ["recursive"] });
    const filter = this.#tokens.skip("name", "if") ? this.#expressions.parse() : undefined;
    const isRecursive = this.#tokens.skip("name", "recursive");
    this.#loops++;
    const body = this.#parseBody("endfor", "else");
    this.#loops--;
    const otherwise = this.#tokens.take("name").text === "else" ? this.#parseBody("endfor") : undefined;
    if (otherwise !== undefined) {
      this.#tokens.take("name");
    }
    return { kind: "for", target, items, filter, isRecursive, body, otherwise: otherwise ?? [], line };
  }

  #parseSet(line: number): Statement {
    const target = this.#parseTarget(true);
    if (this.#tokens.skip("operator", "=")) {
      return { kind: "set", target, value: this.#expressions.parseTuple(), line };
    }
    if (target.kind === "tuple") {
      throw this.#tokens.unexpected("=");
    }
    const filters = this.#expressions.parseFilters(false);
    const body = this.#parseBody("endset");
    this.#tokens.take("name");
    return { kind: "set-block", target, filters, body, line };
  }

  #parseWith(line: number): Statement {
    const assignments: [Target, Expression][] = [];
    while (!this.#tokens.is("end")) {
      if (assignments.length > 0) {
        this.#tokens.take("operator", ",");
      }
      const target = this.#parseTarget(false);
      this.#tokens.take("operator", "=");
      assignments.push([target, this.#expressions.parse()]);
    }
    const body = this.#parseBody("endwith");
    this.#tokens.take("name");
    return { kind: "with", assignments, body, line };
  }

  #parseMacro(name: string, end: string, hasParameters = true): MacroParts {
    const parameters = hasParameters ? this.#parseParameters() : [];
    const loops = this.#loops;
    this.#loops = 0;
    const [body, uses] = this.#expressions.collectNames(() => this.#parseBody(end));
    this.#tokens.take("name");
    this.#loops = loops;
    return { name, parameters, body, uses };
  }

  #parseParameters(): MacroParts["parameters"] {
    const parameters: MacroParts["parameters"] = [];
    this.#tokens.take("operator", "(");
    while (!this.#tokens.skip("operator", ")")) {
      if (parameters.length > 0) {
        this.#tokens.take("operator", ",");
      }
      const { text: name } = this.#tokens.take("name");
      const standard = this.#tokens.skip("operator", "=") ? this.#expressions.parse() : undefined;
      if (standard === undefined && parameters.at(-1)?.standard !== undefined) {
        throw this.#tokens.error("a parameter without a default follows one that has one");
      }
      parameters.push({ name, standard });
    }
    return parameters;
  }

  #parseCallBlock(line: number): Statement {
    const parameters = this.#tokens.is("operator", "(") ? this.#parseParameters() : [];
    const call = this.#expressions.parse();
    if (call.kind !== "call") {
      throw this.#tokens.error("expected a call");
    }
    const caller = { ...this.#parseMacro("caller", "endcall", false), parameters };
    return { kind: "call-block", call, caller, line };
  }

  // Targets of assignments

  #parseTarget(withTuple: boolean): Target {
    const items: Target[] = [];
    let isTuple = false;
    do {
      if (items.length > 0 && !this.#tokens.is("name") && !this.#tokens.is("operator", "(")) {
        break; // "a, = ..."
      }
      items.push(this.#parseOneTarget());
      isTuple ||= this.#tokens.is("operator", ",");
    } while (withTuple && this.#tokens.skip("operator", ","));
    const [first] = items;
    return first !== undefined && !isTuple ? first : { kind: "tuple", items };
  }

  #parseOneTarget(): Target {
    if (this.#tokens.skip("operator", "(")) {
      const target = this.#tokens.nested(() => this.#parseTarget(true));
      this.#tokens.take("operator", ")");
      return target;
    }
    const { text: name } = this.#tokens.take("name");
    if (this.#tokens.skip("operator", ".")) {
      return { kind: "member", name, attribute: this.#tokens.take("name").text };
    }
    if (/^(true|false|none)$/i.test(name)) {
      throw this.#tokens.error(`cannot assign to '${name}'`);
    }
    return { kind: "name", name };
  }
}
