// Jinja2's expressions, from tokens to the tree.

import type { CallArguments, Expression, FilterCall } from "./ast.js";
import { unsupported } from "./limits.js";
import type { TokenReader } from "./token-reader.js";

export interface KnownNames {
  isFilter(name: string): boolean;
  isTest(name: string): boolean;
}

export class ExpressionParser {
  readonly #tokens: TokenReader;
  readonly #known: KnownNames;
  #conditions = 0;
  /** Names that are used, a set for each part around this place that collects them. */
  readonly #used: Set<string>[] = [];

  constructor(tokens: TokenReader, known: KnownNames) {
    this.#tokens = tokens;
    this.#known = known;
  }

  /** What `body` parses may never be run: filters and tests that are not known are no error there, as in Jinja2. */
  conditionally<T>(body: () => T): T {
    this.#conditions++;
    const result = body();
    this.#conditions--;
    return result;
  }

  /** What `body` parses, and the names that expressions in it use. */
  collectNames<T>(body: () => T): [T, Set<string>] {
    const names = new Set<string>();
    this.#used.push(names);
    const result = body();
    this.#used.pop();
    return [result, names];
  }

  parse(withCondition = true): Expression {
    return this.#tokens.nested(() => (withCondition ? this.#parseCondition() : this.#parseLogic("or")));
  }

  parseTuple({ withCondition = true, end = [] as string[], inBrackets = false } = {}): Expression {
    const line = this.#tokens.line;
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) {
        if (!this.#tokens.skip("operator", ",")) {
          break;
        }
        isTuple = true;
      }
      if (
        this.#tokens.is("end") ||
        this.#tokens.is("operator", ")") ||
        (end.length > 0 && this.#tokens.is("name", ...end))
      ) {
        break;
      }
      items.push(this.parse(withCondition));
    }
    const [first] = items;
    if (first === undefined && !inBrackets) {
      throw this.#tokens.unexpected("an expression");
    }
    return first !== undefined && !isTuple ? first : { kind: "tuple", items, line };
  }

  #parseCondition(): Expression {
    let yes = this.#parseLogic("or");
    for (let line = this.#tokens.line; this.#tokens.skip("name", "if"); line = this.#tokens.line) {
      // what comes before "if" was parsed as unconditional, which is stricter
      const [test, no] = this.conditionally(() => [
        this.#parseLogic("or"),
        this.#tokens.skip("name", "else") ? this.#tokens.nested(() => this.#parseCondition()) : undefined,
      ]);
      yes = { kind: "condition", test, yes, no, line };
    }
    return yes;
  }

  #parseLogic(operator: "and" | "or"): Expression {
    const parse = () => (operator === "or" ? this.#parseLogic("and") : this.#parseNot());
    let left = parse();
    for (let line = this.#tokens.line; this.#tokens.skip("name", operator); line = this.#tokens.line) {
      left = { kind: "logic", operator, left, right: parse(), line };
    }
    return left;
  }

  #parseNot(): Expression {
    const line = this.#tokens.line;
    return this.#tokens.skip("name", "not")
      ? { kind: "unary", operator: "not", operand: this.#tokens.nested(() => this.#parseNot()), line }
      : this.#parseComparison();
  }

  #parseComparison(): Expression {
    const line = this.#tokens.line;
    const first = this.#parseBinary(["+", "-"]);
    const rest: [string, Expression][] = [];
    for (;;) {
      const operator = this.#takeComparison();
      if (operator === undefined) {
        return rest.length === 0 ? first : { kind: "compare", first, rest, line };
      }
      rest.push([operator, this.#parseBinary(["+", "-"])]);
    }
  }

  #takeComparison(): string | undefined {
    if (this.#tokens.is("operator", "==", "!=", "<", "<=", ">", ">=") || this.#tokens.is("name", "in")) {
      return this.#tokens.takeAny().text;
    }
    if (this.#tokens.is("name", "not") && this.#tokens.isFollowedBy("name", "in")) {
      this.#tokens.take("name");
      this.#tokens.take("name");
      return "not in";
    }
    return undefined;
  }

  /** Sums, below them concatenations, below them products, below them powers: each associates to the left. */
  #parseBinary(operators: readonly string[]): Expression {
    const isSum = operators.includes("+");
    const isProduct = operators.includes("*");
    const parse = () => (isSum ? this.#parseConcat() : isProduct ? this.#parseBinary(["**"]) : this.#parseUnary(true));
    let left = parse();
    for (let line = this.#tokens.line; this.#tokens.is("operator", ...operators); line = this.#tokens.line) {
      const operator = this.#tokens.take("operator").text;
      left = { kind: "binary", operator, left, right: parse(), line };
    }
    return left;
  }

  #parseConcat(): Expression {
    const products = ["*", "/", "//", "%"];
    const line = this.#tokens.line;
    const items = [this.#parseBinary(products)];
    while (this.#tokens.skip("operator", "~")) {
      items.push(this.#parseBinary(products));
    }
    const [first] = items;
    return first !== undefined && items.length === 1 ? first : { kind: "concat", items, line };
  }

  #parseUnary(withFilters: boolean): Expression {
    const line = this.#tokens.line;
    const sign = this.#tokens.is("operator", "-", "+") ? this.#tokens.take("operator").text : undefined;
    let node: Expression =
      sign === undefined
        ? this.#parsePrimary()
        : {
            kind: "unary",
            operator: sign === "-" ? "-" : "+",
            operand: this.#tokens.nested(() => this.#parseUnary(false)),
            line,
          };
    node = this.#parsePostfix(node);
    return withFilters ? this.#parseFiltersAndTests(node) : node;
  }

  #parsePrimary(): Expression {
    const line = this.#tokens.line;
    switch (this.#tokens.kind) {
      case "name":
        return this.#nameOrConstant(this.#tokens.takeAny().text, line);
      case "string": {
        let value = "";
        while (this.#tokens.is("string")) {
          value += this.#tokens.takeAny().text;
        }
        return { kind: "constant", value, line };
      }
      case "integer":
        return { kind: "constant", value: BigInt(this.#takeDigits().toLowerCase()), line };
      case "float":
        return { kind: "constant", value: Number(this.#takeDigits()), line };
      default:
        return this.#tokens.nested(() => this.#parseBrackets());
    }
  }

  #takeDigits(): string {
    return this.#tokens.takeAny().text.replaceAll("_", "");
  }

  #nameOrConstant(name: string, line: number): Expression {
    const constants: Record<string, boolean | null> = { true: true, false: false, none: null };
    const lower = name.charAt(0).toLowerCase() + name.slice(1);
    if (Object.hasOwn(constants, lower)) {
      return { kind: "constant", value: constants[lower] ?? null, line };
    }
    for (const uses of this.#used) {
      uses.add(name);
    }
    return { kind: "name", name, line };
  }

  #parseBrackets(): Expression {
    const line = this.#tokens.line;
    if (this.#tokens.skip("operator", "(")) {
      const tuple = this.parseTuple({ inBrackets: true });
      this.#tokens.take("operator", ")");
      return tuple;
    }
    if (this.#tokens.skip("operator", "[")) {
      return { kind: "list", items: this.#parseItems("]", () => this.parse()), line };
    }
    if (this.#tokens.skip("operator", "{")) {
      const entries = this.#parseItems("}", (): [Expression, Expression] => {
        const key = this.parse();
        this.#tokens.take("operator", ":");
        return [key, this.parse()];
      });
      return { kind: "dict", entries, line };
    }
    throw this.#tokens.unexpected("an expression");
  }

  #parseItems<T>(end: string, parse: () => T): T[] {
    const items: T[] = [];
    while (!this.#tokens.skip("operator", end)) {
      if (items.length > 0) {
        this.#tokens.take("operator", ",");
        if (this.#tokens.skip("operator", end)) {
          break;
        }
      }
      items.push(parse());
    }
    return items;
  }

  #parsePostfix(node: Expression): Expression {
    let result = node;
    for (;;) {
      if (this.#tokens.is("operator", ".", "[")) {
        result = this.#parseSubscript(result);
      } else if (this.#tokens.is("operator", "(")) {
        result = this.#parseCall(result);
      } else {
        return result;
      }
    }
  }

  #parseCall(callee: Expression): Extract<Expression, { kind: "call" }> {
    const line = this.#tokens.line;
    return { kind: "call", callee, ...this.#parseArguments(), line };
  }

  #parseSubscript(object: Expression): Expression {
    const line = this.#tokens.line;
    if (this.#tokens.skip("operator", ".")) {
      if (this.#tokens.is("integer")) {
        const value = BigInt(this.#takeDigits());
        return { kind: "item", object, key: { kind: "constant", value, line }, line };
      }
      return { kind: "attribute", object, name: this.#tokens.take("name").text, line };
    }
    this.#tokens.take("operator", "[");
    const bounds: (Expression | undefined)[] = [undefined];
    const bound = () => (this.#tokens.is("operator", ":", "]", ",") ? undefined : this.parse());
    bounds[0] = bound();
    while (bounds.length < 3 && this.#tokens.skip("operator", ":")) {
      bounds.push(bound());
    }
    const [start, stop, step] = bounds;
    if (bounds.length > 1) {
      this.#tokens.take("operator", "]");
      return { kind: "slice", object, start, stop, step, line };
    }
    if (start === undefined) {
      throw this.#tokens.unexpected("an expression");
    }
    if (!this.#tokens.skip("operator", ",")) {
      this.#tokens.take("operator", "]");
      return { kind: "item", object, key: start, line };
    }
    const items = [start, ...this.#parseItems("]", () => this.parse())];
    return { kind: "item", object, key: { kind: "tuple", items, line }, line };
  }

  #parseArguments(): CallArguments {
    this.#tokens.take("operator", "(");
    const result: CallArguments = { positional: [], named: [] };
    const names = new Set<string>();
    this.#parseItems(")", () => this.#parseArgument(result, names));
    return result;
  }

  /** `names`: those given so far. */
  #parseArgument(result: CallArguments, names: Set<string>): void {
    if (this.#tokens.skip("operator", "*")) {
      this.#refuse(result.spread !== undefined || result.spreadNamed !== undefined);
      result.spread = this.parse();
    } else if (this.#tokens.skip("operator", "**")) {
      this.#refuse(result.spreadNamed !== undefined);
      result.spreadNamed = this.parse();
    } else if (this.#tokens.is("name") && this.#tokens.isFollowedBy("operator", "=")) {
      this.#refuse(result.spreadNamed !== undefined);
      const { text: name } = this.#tokens.take("name");
      this.#tokens.take("operator");
      this.#refuse(names.has(name));
      names.add(name);
      result.named.push([name, this.parse()]);
    } else {
      this.#refuse(result.named.length > 0 || result.spread !== undefined || result.spreadNamed !== undefined);
      result.positional.push(this.parse());
    }
  }

  #refuse(isWrong: boolean): void {
    if (isWrong) {
      throw this.#tokens.error("arguments of a call in a wrong order");
    }
  }

  #parseFiltersAndTests(node: Expression): Expression {
    let result = node;
    for (let line = this.#tokens.line; ; line = this.#tokens.line) {
      if (this.#tokens.skip("operator", "|")) {
        const filter = this.#parseFilter();
        result = { kind: "filter", input: result, ...filter };
      } else if (this.#tokens.skip("name", "is")) {
        result = this.#parseTest(result, line);
      } else if (this.#tokens.is("operator", "(")) {
        result = this.#parseCall(result);
      } else {
        return result;
      }
    }
  }

  #parseDottedName(): string {
    let { text: name } = this.#tokens.take("name");
    while (this.#tokens.skip("operator", ".")) {
      name += `.${this.#tokens.take("name").text}`;
    }
    return name;
  }

  #parseFilter(): FilterCall {
    const line = this.#tokens.line;
    const name = this.#parseDottedName();
    if (this.#conditions === 0 && !this.#known.isFilter(name)) {
      throw unsupported(`line ${line}: the filter '${name}'`);
    }
    const args = this.#tokens.is("operator", "(") ? this.#parseArguments() : { positional: [], named: [] };
    return { name, line, ...args };
  }

  #parseTest(input: Expression, line: number): Expression {
    const isNegated = this.#tokens.skip("name", "not");
    const name = this.#parseDottedName();
    if (this.#conditions === 0 && !this.#known.isTest(name)) {
      throw unsupported(`line ${line}: the test '${name}'`);
    }
    const test: Expression = { kind: "test", name, input, ...this.#parseTestArguments(), line };
    return isNegated ? { kind: "unary", operator: "not", operand: test, line } : test;
  }

  #parseTestArguments(): CallArguments {
    if (this.#tokens.is("operator", "(")) {
      return this.#parseArguments();
    }
    const begins =
      this.#tokens.is("string") ||
      this.#tokens.is("integer") ||
      this.#tokens.is("float") ||
      this.#tokens.is("operator", "[", "{");
    const isWord = this.#tokens.is("name") && !this.#tokens.is("name", "else", "or", "and");
    if (!begins && !isWord) {
      return { positional: [], named: [] };
    }
    if (this.#tokens.is("name", "is")) {
      throw this.#tokens.error("tests cannot be chained");
    }
    const positional = [this.#parsePostfix(this.#parsePrimary())];
    return { positional, named: [] };
  }

  /** Filters one after the other; the first one without a pipe if `bare`. */
  parseFilters(bare: boolean): FilterCall[] {
    const filters: FilterCall[] = [];
    while (bare || this.#tokens.skip("operator", "|")) {
      bare = false;
      filters.push(this.#parseFilter());
    }
    return filters;
  }
}
