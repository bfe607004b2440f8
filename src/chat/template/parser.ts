// From tokens to the tree: Jinja2's grammar, with the tags that chat templates have in transformers (loop controls and
// "generation"). What only makes sense with more than one template is refused by name.

import type { CallArguments, Expression, FilterCall, MacroParts, Statement, Target } from "./ast.js";
import { type Token, type TokenKind, tokenize } from "./lexer.js";
import { TemplateError, unsupported } from "./limits.js";

export interface KnownNames {
  isFilter(name: string): boolean;
  isTest(name: string): boolean;
}

// Of brackets and blocks inside each other. Real templates stay below 30.
const maxDepth = 200;
const foreignTags = ["include", "import", "from", "extends", "block", "autoescape"];

export function parseTemplate(source: string, known: KnownNames): Statement[] {
  return new Parser(tokenize(source), known).run();
}

class Parser {
  readonly #tokens: readonly Token[];
  readonly #known: KnownNames;
  #place = 0;
  #depth = 0;
  #loops = 0;
  #conditions = 0;
  /** Names that the macros around this place use. */
  readonly #used: Set<string>[] = [];

  constructor(tokens: readonly Token[], known: KnownNames) {
    this.#tokens = tokens;
    this.#known = known;
  }

  run(): Statement[] {
    const statements = this.#parseStatements([]);
    if (this.#place < this.#tokens.length) {
      throw this.#unexpected();
    }
    return statements;
  }

  // Tokens

  get #line(): number {
    return (this.#tokens[this.#place] ?? this.#tokens.at(-1))?.line ?? 1;
  }

  #is(kind: TokenKind, ...texts: string[]): boolean {
    const token = this.#tokens[this.#place];
    return token?.kind === kind && (texts.length === 0 || texts.includes(token.text));
  }

  #skip(kind: TokenKind, ...texts: string[]): boolean {
    const found = this.#is(kind, ...texts);
    this.#place += found ? 1 : 0;
    return found;
  }

  #take(kind: TokenKind, ...texts: string[]): Token {
    const token = this.#tokens[this.#place];
    if (token === undefined || !this.#is(kind, ...texts)) {
      throw this.#unexpected(texts.join(" or ") || kind);
    }
    this.#place++;
    return token;
  }

  #unexpected(expected?: string): TemplateError {
    const token = this.#tokens[this.#place];
    const found = token === undefined ? "end of the template" : `${token.kind} ${JSON.stringify(token.text)}`;
    return this.#error(`unexpected ${found}${expected === undefined ? "" : `, expected ${expected}`}`);
  }

  #error(message: string): TemplateError {
    return new TemplateError(`line ${this.#line}: ${message}`);
  }

  #nested<T>(body: () => T): T {
    this.#depth++;
    if (this.#depth > maxDepth) {
      throw this.#error(`nested more than ${maxDepth} levels deep`);
    }
    const result = body();
    this.#depth--;
    return result;
  }

  // Statements

  /** Up to one of the tags that `end` names, which is not taken. */
  #parseStatements(end: readonly string[]): Statement[] {
    const statements: Statement[] = [];
    while (this.#place < this.#tokens.length) {
      const line = this.#line;
      if (this.#is("data")) {
        statements.push({ kind: "data", text: this.#take("data").text, line });
      } else if (this.#skip("variable")) {
        statements.push({ kind: "print", expression: this.#parseTuple(), line });
        this.#take("end");
      } else {
        this.#take("block");
        if (this.#is("name", ...end) && end.length > 0) {
          return statements;
        }
        statements.push(this.#nested(() => this.#parseTag(line)));
        this.#take("end");
      }
    }
    if (end.length > 0) {
      throw this.#error(`unexpected end of the template, expected ${end.join(" or ")}`);
    }
    return statements;
  }

  /** The statements inside a tag, and the tag that ends it. Returns which one. */
  #parseBody(...end: string[]): Statement[] {
    this.#take("end");
    return this.#parseStatements(end);
  }

  #parseTag(line: number): Statement {
    const tag = this.#take("name").text;
    switch (tag) {
      case "if":
        return this.#parseIf(line);
      case "for":
        return this.#parseFor(line);
      case "set":
        return this.#parseSet(line);
      case "with":
        return this.#parseWith(line);
      case "macro":
        return { kind: "macro", macro: this.#parseMacro(this.#take("name").text, "endmacro"), line };
      case "call":
        return this.#parseCallBlock(line);
      case "filter": {
        const filters = this.#parseFilters(true);
        const body = this.#parseBody("endfilter");
        this.#take("name");
        return { kind: "filter-block", filters, body, line };
      }
      case "generation": {
        const body = this.#parseBody("endgeneration");
        this.#take("name");
        return { kind: "group", body, line };
      }
      case "print":
        return { kind: "print", expression: this.#parseTuple(), line };
      case "break":
      case "continue":
        if (this.#loops === 0) {
          throw this.#error(`'${tag}' outside of a loop`);
        }
        return { kind: tag, line };
      default:
        throw foreignTags.includes(tag)
          ? unsupported(`line ${line}: the tag '${tag}'`)
          : this.#error(`unknown tag '${tag}'`);
    }
  }

  #parseIf(line: number): Statement {
    this.#conditions++;
    const branches: [Expression, Statement[]][] = [];
    let otherwise: Statement[] = [];
    for (let tag = "if"; tag !== "endif"; tag = this.#take("name").text) {
      if (tag === "else") {
        otherwise = this.#parseBody("endif");
      } else {
        const test = this.#parseTuple({ withCondition: false });
        branches.push([test, this.#parseBody("elif", "else", "endif")]);
      }
    }
    this.#conditions--;
    return { kind: "if", branches, otherwise, line };
  }

  #parseFor(line: number): Statement {
    const target = this.#parseTarget(true);
    this.#take("name", "in");
    const items = this.#parseTuple({ withCondition: false, end: ["recursive"] });
    const filter = this.#skip("name", "if") ? this.#parseExpression() : undefined;
    const isRecursive = this.#skip("name", "recursive");
    this.#loops++;
    const body = this.#parseBody("endfor", "else");
    this.#loops--;
    const otherwise = this.#take("name").text === "else" ? this.#parseBody("endfor") : undefined;
    if (otherwise !== undefined) {
      this.#take("name");
    }
    return { kind: "for", target, items, filter, isRecursive, body, otherwise: otherwise ?? [], line };
  }

  #parseSet(line: number): Statement {
    const target = this.#parseTarget(true);
    if (this.#skip("operator", "=")) {
      return { kind: "set", target, value: this.#parseTuple(), line };
    }
    if (target.kind === "tuple") {
      throw this.#unexpected("=");
    }
    const filters = this.#parseFilters(false);
    const body = this.#parseBody("endset");
    this.#take("name");
    return { kind: "set-block", target, filters, body, line };
  }

  #parseWith(line: number): Statement {
    const assignments: [Target, Expression][] = [];
    while (!this.#is("end")) {
      if (assignments.length > 0) {
        this.#take("operator", ",");
      }
      const target = this.#parseTarget(false);
      this.#take("operator", "=");
      assignments.push([target, this.#parseExpression()]);
    }
    const body = this.#parseBody("endwith");
    this.#take("name");
    return { kind: "with", assignments, body, line };
  }

  #parseMacro(name: string, end: string, hasParameters = true): MacroParts {
    const parameters = hasParameters ? this.#parseParameters() : [];
    const loops = this.#loops;
    this.#loops = 0;
    const uses = new Set<string>();
    this.#used.push(uses);
    const body = this.#parseBody(end);
    this.#take("name");
    this.#used.pop();
    this.#loops = loops;
    return { name, parameters, body, uses };
  }

  #parseParameters(): MacroParts["parameters"] {
    const parameters: MacroParts["parameters"] = [];
    this.#take("operator", "(");
    while (!this.#skip("operator", ")")) {
      if (parameters.length > 0) {
        this.#take("operator", ",");
      }
      const { text: name } = this.#take("name");
      const standard = this.#skip("operator", "=") ? this.#parseExpression() : undefined;
      if (standard === undefined && parameters.at(-1)?.standard !== undefined) {
        throw this.#error("a parameter without a default follows one that has one");
      }
      parameters.push({ name, standard });
    }
    return parameters;
  }

  #parseCallBlock(line: number): Statement {
    const parameters = this.#is("operator", "(") ? this.#parseParameters() : [];
    const call = this.#parseExpression();
    if (call.kind !== "call") {
      throw this.#error("expected a call");
    }
    const caller = { ...this.#parseMacro("caller", "endcall", false), parameters };
    return { kind: "call-block", call, caller, line };
  }

  /** Filters one after the other; the first one without a pipe if `bare`. */
  #parseFilters(bare: boolean): FilterCall[] {
    const filters: FilterCall[] = [];
    while (bare || this.#skip("operator", "|")) {
      bare = false;
      filters.push(this.#parseFilter());
    }
    return filters;
  }

  // Targets of assignments

  #parseTarget(withTuple: boolean): Target {
    const items: Target[] = [];
    let isTuple = false;
    do {
      if (items.length > 0 && !this.#is("name") && !this.#is("operator", "(")) {
        break; // "a, = ..."
      }
      items.push(this.#parseOneTarget());
      isTuple ||= this.#is("operator", ",");
    } while (withTuple && this.#skip("operator", ","));
    const [first] = items;
    return first !== undefined && !isTuple ? first : { kind: "tuple", items };
  }

  #parseOneTarget(): Target {
    if (this.#skip("operator", "(")) {
      const target = this.#nested(() => this.#parseTarget(true));
      this.#take("operator", ")");
      return target;
    }
    const { text: name } = this.#take("name");
    if (this.#skip("operator", ".")) {
      return { kind: "member", name, attribute: this.#take("name").text };
    }
    if (/^(true|false|none)$/i.test(name)) {
      throw this.#error(`cannot assign to '${name}'`);
    }
    return { kind: "name", name };
  }

  // Expressions

  #parseExpression(withCondition = true): Expression {
    return this.#nested(() => (withCondition ? this.#parseCondition() : this.#parseLogic("or")));
  }

  #parseTuple({ withCondition = true, end = [] as string[], inBrackets = false } = {}): Expression {
    const line = this.#line;
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) {
        if (!this.#skip("operator", ",")) {
          break;
        }
        isTuple = true;
      }
      if (this.#is("end") || this.#is("operator", ")") || (end.length > 0 && this.#is("name", ...end))) {
        break;
      }
      items.push(this.#parseExpression(withCondition));
    }
    const [first] = items;
    if (first === undefined && !inBrackets) {
      throw this.#unexpected("an expression");
    }
    return first !== undefined && !isTuple ? first : { kind: "tuple", items, line };
  }

  #parseCondition(): Expression {
    let yes = this.#parseLogic("or");
    while (this.#is("name", "if")) {
      const line = this.#line;
      this.#place++;
      this.#conditions++; // what comes before "if" was parsed as unconditional, which is stricter
      const test = this.#parseLogic("or");
      const no = this.#skip("name", "else") ? this.#nested(() => this.#parseCondition()) : undefined;
      this.#conditions--;
      yes = { kind: "condition", test, yes, no, line };
    }
    return yes;
  }

  #parseLogic(operator: "and" | "or"): Expression {
    const parse = () => (operator === "or" ? this.#parseLogic("and") : this.#parseNot());
    let left = parse();
    for (let line = this.#line; this.#skip("name", operator); line = this.#line) {
      left = { kind: "logic", operator, left, right: parse(), line };
    }
    return left;
  }

  #parseNot(): Expression {
    const line = this.#line;
    return this.#skip("name", "not")
      ? { kind: "unary", operator: "not", operand: this.#nested(() => this.#parseNot()), line }
      : this.#parseComparison();
  }

  #parseComparison(): Expression {
    const line = this.#line;
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
    if (this.#is("operator", "==", "!=", "<", "<=", ">", ">=") || this.#is("name", "in")) {
      return this.#tokens[this.#place++]?.text;
    }
    const next = this.#tokens[this.#place + 1];
    if (this.#is("name", "not") && next?.kind === "name" && next.text === "in") {
      this.#place += 2;
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
    for (let line = this.#line; this.#is("operator", ...operators); line = this.#line) {
      const operator = this.#take("operator").text;
      left = { kind: "binary", operator, left, right: parse(), line };
    }
    return left;
  }

  #parseConcat(): Expression {
    const products = ["*", "/", "//", "%"];
    const line = this.#line;
    const items = [this.#parseBinary(products)];
    while (this.#skip("operator", "~")) {
      items.push(this.#parseBinary(products));
    }
    const [first] = items;
    return first !== undefined && items.length === 1 ? first : { kind: "concat", items, line };
  }

  #parseUnary(withFilters: boolean): Expression {
    const line = this.#line;
    const sign = this.#is("operator", "-", "+") ? this.#take("operator").text : undefined;
    let node: Expression =
      sign === undefined
        ? this.#parsePrimary()
        : {
            kind: "unary",
            operator: sign === "-" ? "-" : "+",
            operand: this.#nested(() => this.#parseUnary(false)),
            line,
          };
    node = this.#parsePostfix(node);
    return withFilters ? this.#parseFiltersAndTests(node) : node;
  }

  #parsePrimary(): Expression {
    const line = this.#line;
    const token = this.#tokens[this.#place++];
    switch (token?.kind) {
      case "name":
        return this.#nameOrConstant(token.text, line);
      case "string": {
        let value = token.text;
        while (this.#is("string")) {
          value += this.#take("string").text;
        }
        return { kind: "constant", value, line };
      }
      case "integer":
        return { kind: "constant", value: BigInt(token.text.replaceAll("_", "").toLowerCase()), line };
      case "float":
        return { kind: "constant", value: Number(token.text.replaceAll("_", "")), line };
      default:
        this.#place--;
        return this.#nested(() => this.#parseBrackets());
    }
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
    const line = this.#line;
    if (this.#skip("operator", "(")) {
      const tuple = this.#parseTuple({ inBrackets: true });
      this.#take("operator", ")");
      return tuple;
    }
    if (this.#skip("operator", "[")) {
      return { kind: "list", items: this.#parseItems("]", () => this.#parseExpression()), line };
    }
    if (this.#skip("operator", "{")) {
      const entries = this.#parseItems("}", (): [Expression, Expression] => {
        const key = this.#parseExpression();
        this.#take("operator", ":");
        return [key, this.#parseExpression()];
      });
      return { kind: "dict", entries, line };
    }
    throw this.#unexpected("an expression");
  }

  #parseItems<T>(end: string, parse: () => T): T[] {
    const items: T[] = [];
    while (!this.#skip("operator", end)) {
      if (items.length > 0) {
        this.#take("operator", ",");
        if (this.#skip("operator", end)) {
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
      if (this.#is("operator", ".", "[")) {
        result = this.#parseSubscript(result);
      } else if (this.#is("operator", "(")) {
        result = this.#parseCall(result);
      } else {
        return result;
      }
    }
  }

  #parseCall(callee: Expression): Extract<Expression, { kind: "call" }> {
    const line = this.#line;
    return { kind: "call", callee, ...this.#parseArguments(), line };
  }

  #parseSubscript(object: Expression): Expression {
    const line = this.#line;
    if (this.#skip("operator", ".")) {
      if (this.#is("integer")) {
        const value = BigInt(this.#take("integer").text.replaceAll("_", ""));
        return { kind: "item", object, key: { kind: "constant", value, line }, line };
      }
      return { kind: "attribute", object, name: this.#take("name").text, line };
    }
    this.#take("operator", "[");
    const bounds: (Expression | undefined)[] = [undefined];
    const bound = () => (this.#is("operator", ":", "]", ",") ? undefined : this.#parseExpression());
    bounds[0] = bound();
    while (bounds.length < 3 && this.#skip("operator", ":")) {
      bounds.push(bound());
    }
    const [start, stop, step] = bounds;
    if (bounds.length > 1) {
      this.#take("operator", "]");
      return { kind: "slice", object, start, stop, step, line };
    }
    if (start === undefined) {
      throw this.#unexpected("an expression");
    }
    if (!this.#skip("operator", ",")) {
      this.#take("operator", "]");
      return { kind: "item", object, key: start, line };
    }
    const items = [start, ...this.#parseItems("]", () => this.#parseExpression())];
    return { kind: "item", object, key: { kind: "tuple", items, line }, line };
  }

  #parseArguments(): CallArguments {
    this.#take("operator", "(");
    const result: CallArguments = { positional: [], named: [] };
    const names = new Set<string>();
    this.#parseItems(")", () => this.#parseArgument(result, names));
    return result;
  }

  /** `names`: those given so far. */
  #parseArgument(result: CallArguments, names: Set<string>): void {
    const next = this.#tokens[this.#place + 1];
    if (this.#skip("operator", "*")) {
      this.#refuse(result.spread !== undefined || result.spreadNamed !== undefined);
      result.spread = this.#parseExpression();
    } else if (this.#skip("operator", "**")) {
      this.#refuse(result.spreadNamed !== undefined);
      result.spreadNamed = this.#parseExpression();
    } else if (this.#is("name") && next?.kind === "operator" && next.text === "=") {
      this.#refuse(result.spreadNamed !== undefined);
      const { text: name } = this.#take("name");
      this.#place++;
      this.#refuse(names.has(name));
      names.add(name);
      result.named.push([name, this.#parseExpression()]);
    } else {
      this.#refuse(result.named.length > 0 || result.spread !== undefined || result.spreadNamed !== undefined);
      result.positional.push(this.#parseExpression());
    }
  }

  #refuse(isWrong: boolean): void {
    if (isWrong) {
      throw this.#error("arguments of a call in a wrong order");
    }
  }

  #parseFiltersAndTests(node: Expression): Expression {
    let result = node;
    for (let line = this.#line; ; line = this.#line) {
      if (this.#skip("operator", "|")) {
        const filter = this.#parseFilter();
        result = { kind: "filter", input: result, ...filter };
      } else if (this.#skip("name", "is")) {
        result = this.#parseTest(result, line);
      } else if (this.#is("operator", "(")) {
        result = this.#parseCall(result);
      } else {
        return result;
      }
    }
  }

  #parseDottedName(): string {
    let { text: name } = this.#take("name");
    while (this.#skip("operator", ".")) {
      name += `.${this.#take("name").text}`;
    }
    return name;
  }

  #parseFilter(): FilterCall {
    const line = this.#line;
    const name = this.#parseDottedName();
    if (this.#conditions === 0 && !this.#known.isFilter(name)) {
      throw unsupported(`line ${line}: the filter '${name}'`);
    }
    const args = this.#is("operator", "(") ? this.#parseArguments() : { positional: [], named: [] };
    return { name, line, ...args };
  }

  #parseTest(input: Expression, line: number): Expression {
    const isNegated = this.#skip("name", "not");
    const name = this.#parseDottedName();
    if (this.#conditions === 0 && !this.#known.isTest(name)) {
      throw unsupported(`line ${line}: the test '${name}'`);
    }
    const test: Expression = { kind: "test", name, input, ...this.#parseTestArguments(), line };
    return isNegated ? { kind: "unary", operator: "not", operand: test, line } : test;
  }

  #parseTestArguments(): CallArguments {
    if (this.#is("operator", "(")) {
      return this.#parseArguments();
    }
    const begins = this.#is("string") || this.#is("integer") || this.#is("float") || this.#is("operator", "[", "{");
    const isWord = this.#is("name") && !this.#is("name", "else", "or", "and");
    if (!begins && !isWord) {
      return { positional: [], named: [] };
    }
    if (this.#is("name", "is")) {
      throw this.#error("tests cannot be chained");
    }
    const positional = [this.#parsePostfix(this.#parsePrimary())];
    return { positional, named: [] };
  }
}
