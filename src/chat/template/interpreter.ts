// Runs the tree of a template. Every node costs a step of the budget, so that any template comes to an end.

import type { CallArguments, Expression, FilterCall, MacroParts, Statement, Target } from "./ast.js";
import { applyFilter } from "./filters.js";
import { createGlobals } from "./globals.js";
import { type Budget, LimitError, RaisedError, TemplateError } from "./limits.js";
import { Loop } from "./loop.js";
import { getAttribute, getItem } from "./methods.js";
import { binary, compare, concat, slice, unary } from "./operators.js";
import { Scope } from "./scope.js";
import { applyTest } from "./tests.js";
import { textOf } from "./text.js";
import {
  type Arguments,
  Callable,
  Dict,
  Helper,
  isTrue,
  Markup,
  Namespace,
  orElse,
  type Runtime,
  requireDefined,
  requireItems,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

/** How a block ended: at its end, or by a word that ends the loop around it or its turn. */
type Flow = "end" | "break" | "continue";

type Node<Kind extends string, N = Expression> = Extract<N, { kind: Kind }>;

export class Interpreter implements Runtime {
  readonly budget: Budget;
  readonly now: Date;
  #output: string[] = [];
  #length = 0;

  constructor(budget: Budget, now: Date) {
    this.budget = budget;
    this.now = now;
  }

  render(statements: readonly Statement[], variables: Iterable<readonly [string, Value]>): string {
    const scope = new Scope();
    for (const [name, value] of [...createGlobals(this), ...variables]) {
      scope.set(name, value);
    }
    this.#run(statements, new Scope(scope));
    return this.#output.join("");
  }

  filter(name: string, value: Value, args: Arguments): Value {
    this.budget.step();
    return applyFilter(name, value, args, this);
  }

  test(name: string, value: Value, args: Arguments): boolean {
    this.budget.step();
    return applyTest(name, value, args, this);
  }

  // Statements

  #run(statements: readonly Statement[], scope: Scope): Flow {
    this.budget.enter();
    for (const statement of statements) {
      this.budget.step();
      const flow = this.#attempt(statement, () => this.#runOne(statement, scope));
      if (flow !== "end") {
        this.budget.leave();
        return flow;
      }
    }
    this.budget.leave();
    return "end";
  }

  /** Errors say in which line, that of the innermost statement. */
  #attempt<T>({ line }: Statement, body: () => T): T {
    try {
      return body();
    } catch (error) {
      const isComplete = error instanceof LimitError || error instanceof RaisedError;
      if (!(error instanceof TemplateError) || isComplete || error.message.startsWith("line ")) {
        throw error;
      }
      throw new TemplateError(`line ${line}: ${error.message}`);
    }
  }

  #runOne(statement: Statement, scope: Scope): Flow {
    switch (statement.kind) {
      case "data":
        this.#write(statement.text);
        return "end";
      case "print":
        this.#write(textOf(this.#evaluate(statement.expression, scope), this.budget));
        return "end";
      case "if":
        return this.#runIf(statement, scope);
      case "for":
        return this.#runFor(statement, this.#evaluate(statement.items, scope), scope, 1);
      case "set":
        this.#assign(statement.target, this.#evaluate(statement.value, scope), scope);
        return "end";
      case "set-block":
        this.#assign(statement.target, this.#capture(statement, scope), scope);
        return "end";
      case "filter-block":
        this.#write(this.#captureText(statement, scope));
        return "end";
      case "with":
        return this.#runWith(statement, scope);
      case "macro":
        scope.set(statement.macro.name, this.#createMacro(statement.macro, scope));
        return "end";
      case "call-block":
        return this.#runCallBlock(statement, scope);
      case "group":
        return this.#run(statement.body, new Scope(scope));
      case "break":
      case "continue":
        return statement.kind;
    }
  }

  #write(text: string): void {
    this.#length += text.length;
    this.budget.size(this.#length);
    this.budget.text(text.length);
    this.#output.push(text);
  }

  /** What `body` writes. */
  #collect(body: () => void): string {
    const outer = this.#output;
    const outerLength = this.#length;
    this.#output = [];
    body();
    const text = this.#output.join("");
    this.#output = outer;
    this.#length = outerLength;
    return text;
  }

  /** What a block writes, through its filters. */
  #capture({ body, filters }: { body: readonly Statement[]; filters: readonly FilterCall[] }, scope: Scope): Value {
    const text: Value = this.#collect(() => this.#run(body, new Scope(scope)));
    return filters.reduce(
      (value: Value, call) => this.filter(call.name, value, this.#readArguments(call, scope)),
      text,
    );
  }

  #captureText(statement: Node<"filter-block", Statement>, scope: Scope): string {
    const value = this.#capture(statement, scope);
    if (typeof value !== "string" && !(value instanceof Markup)) {
      throw new TemplateError(`the filters of a block give a value of type '${typeName(value)}', not a text`);
    }
    return textOf(value, this.budget);
  }

  #runIf({ branches, otherwise }: Node<"if", Statement>, scope: Scope): Flow {
    for (const [test, body] of branches) {
      this.budget.step();
      if (isTrue(this.#evaluate(test, scope))) {
        return this.#run(body, scope);
      }
    }
    return this.#run(otherwise, scope);
  }

  #runFor(statement: Node<"for", Statement>, iterable: Value, scope: Scope, depth: number): Flow {
    const { target, filter, isRecursive, body, otherwise } = statement;
    const all = requireItems(iterable, this.budget);
    const items = filter === undefined ? all : all.filter((item) => this.#isWanted(item, target, filter, scope));
    const recurse = (inner: Value) => this.#collect(() => this.#runFor(statement, inner, scope, depth + 1));
    const loop = new Loop(items, depth, this, isRecursive ? recurse : undefined);
    let isDone = false;
    for (const item of items) {
      this.budget.step();
      const inner = new Scope(scope);
      inner.set("loop", loop);
      this.#assign(target, item, inner);
      const flow = this.#run(body, inner);
      if (flow === "break") {
        break;
      }
      isDone ||= flow === "end";
      loop.index0++;
    }
    // As in Jinja: what follows "else" runs where the block never came to its end, be it for "break" or "continue".
    return !isDone ? this.#run(otherwise, new Scope(scope)) : "end";
  }

  #isWanted(item: Value, target: Target, filter: Expression, scope: Scope): boolean {
    this.budget.step();
    const inner = new Scope(scope);
    this.#assign(target, item, inner);
    return isTrue(this.#evaluate(filter, inner));
  }

  #runWith({ assignments, body }: Node<"with", Statement>, scope: Scope): Flow {
    const inner = new Scope(scope);
    // Values are read before any name is set.
    const values = assignments.map(([, expression]) => this.#evaluate(expression, scope));
    for (const [index, [target]] of assignments.entries()) {
      this.#assign(target, values[index] ?? null, inner);
    }
    return this.#run(body, inner);
  }

  #runCallBlock({ call, caller }: Node<"call-block", Statement>, scope: Scope): Flow {
    const { positional, named } = this.#readArguments(call, scope);
    const withCaller = new Map(named).set("caller", this.#createMacro(caller, scope));
    const callee = this.#evaluate(call.callee, scope);
    this.#write(textOf(this.#invoke(callee, { positional, named: withCaller }), this.budget));
    return "end";
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    switch (target.kind) {
      case "name":
        scope.set(target.name, value);
        break;
      case "member": {
        const namespace = scope.get(target.name);
        if (!(namespace instanceof Namespace)) {
          throw new TemplateError("cannot assign attribute on non-namespace object");
        }
        namespace.attributes.set(target.attribute, value);
        break;
      }
      case "tuple": {
        const items = requireItems(value, this.budget);
        if (items.length !== target.items.length) {
          throw new TemplateError(`expected ${target.items.length} values to unpack, got ${items.length}`);
        }
        for (const [index, part] of target.items.entries()) {
          this.#assign(part, items[index] ?? null, scope);
        }
      }
    }
  }

  // Macros

  #createMacro(macro: MacroParts, scope: Scope): Callable {
    return new Callable(macro.name, (args) => {
      const inner = new Scope(scope);
      this.#bindMacro(macro, args, inner);
      return this.#collect(() => this.#run(macro.body, inner));
    });
  }

  #bindMacro({ name, parameters, uses }: MacroParts, { positional, named }: Arguments, scope: Scope): void {
    const given = new Map(named);
    const caller = given.get("caller");
    const names = parameters.map((parameter) => parameter.name);
    if (uses.has("caller") && !names.includes("caller")) {
      given.delete("caller");
      scope.set("caller", caller ?? new Undefined("No caller defined")); // None is no caller, too
    }
    for (const [index, { name: parameter, standard }] of parameters.entries()) {
      const value = positional[index];
      if (value !== undefined && given.has(parameter)) {
        throw new TemplateError(`macro '${name}' got two values for '${parameter}'`);
      }
      const used = value === undefined ? given.get(parameter) : value;
      given.delete(parameter);
      scope.set(
        parameter,
        orElse(used, () => this.#standardOf(parameter, standard, scope)),
      );
    }
    const extra = positional.slice(parameters.length);
    if ((extra.length > 0 && !uses.has("varargs")) || (given.size > 0 && !uses.has("kwargs"))) {
      const what = extra.length > 0 ? `more than ${names.length} arguments` : `an argument '${[...given.keys()][0]}'`;
      throw new TemplateError(`macro '${name}' got ${what}`);
    }
    scope.set("varargs", new Tuple(extra));
    scope.set("kwargs", new Dict(given));
  }

  #standardOf(parameter: string, standard: Expression | undefined, scope: Scope): Value {
    return standard === undefined
      ? new Undefined(`parameter '${parameter}' was not provided`)
      : this.#evaluate(standard, scope);
  }

  #invoke(callee: Value, args: Arguments): Value {
    requireDefined(callee);
    this.budget.step();
    if (callee instanceof Callable) {
      return callee.call(args);
    }
    if (callee instanceof Helper && callee.call !== undefined) {
      return callee.call(args);
    }
    throw new TemplateError(`'${typeName(callee)}' object is not callable`);
  }

  #readArguments(call: CallArguments, scope: Scope): Arguments {
    let positional = call.positional.map((argument) => this.#evaluate(argument, scope));
    const named = new Map(call.named.map(([name, argument]) => [name, this.#evaluate(argument, scope)]));
    if (call.spread !== undefined) {
      positional = positional.concat(requireItems(this.#evaluate(call.spread, scope), this.budget));
    }
    if (call.spreadNamed !== undefined) {
      const entries = this.#evaluate(call.spreadNamed, scope);
      if (!(entries instanceof Dict)) {
        throw new TemplateError("argument after ** must be a mapping");
      }
      this.budget.step(4 * entries.size); // a place in a table for each
      for (const [key, value] of entries.entries()) {
        if (typeof key !== "string" || named.has(key)) {
          throw new TemplateError("an argument after ** is given twice, or its name is no text");
        }
        named.set(key, value);
      }
    }
    return { positional, named };
  }

  // Expressions

  #evaluate(node: Expression, scope: Scope): Value {
    this.budget.step();
    this.budget.enter();
    const value = this.#evaluateOne(node, scope);
    this.budget.leave();
    return value;
  }

  #evaluateOne(node: Expression, scope: Scope): Value {
    const evaluate = (inner: Expression) => this.#evaluate(inner, scope);
    switch (node.kind) {
      case "constant":
        return node.value;
      case "name":
        return scope.get(node.name);
      case "list":
        return node.items.map(evaluate);
      case "tuple":
        return new Tuple(node.items.map(evaluate));
      case "dict":
        return new Dict(
          node.entries.map(([key, value]): [Value, Value] => [evaluate(key), evaluate(value)]),
          this.budget,
        );
      case "attribute":
        return getAttribute(evaluate(node.object), node.name, this.budget);
      case "item":
        return getItem(evaluate(node.object), evaluate(node.key), this.budget);
      case "slice": {
        const bounds = [node.start, node.stop, node.step].map((bound) => bound && evaluate(bound));
        return slice(evaluate(node.object), bounds, this.budget);
      }
      case "call":
        return this.#invoke(evaluate(node.callee), this.#readArguments(node, scope));
      case "filter":
        return this.filter(node.name, evaluate(node.input), this.#readArguments(node, scope));
      case "test":
        return this.test(node.name, evaluate(node.input), this.#readArguments(node, scope));
      case "condition":
        return this.#choose(node, scope);
      default:
        return this.#operate(node, scope);
    }
  }

  #operate(node: Node<"unary" | "binary" | "logic" | "compare" | "concat">, scope: Scope): Value {
    switch (node.kind) {
      case "unary": {
        const operand = this.#evaluate(node.operand, scope);
        return node.operator === "not" ? !isTrue(operand) : unary(node.operator, operand);
      }
      case "binary":
        return binary(node.operator, this.#evaluate(node.left, scope), this.#evaluate(node.right, scope), this.budget);
      case "logic": {
        const left = this.#evaluate(node.left, scope);
        return isTrue(left) === (node.operator === "or") ? left : this.#evaluate(node.right, scope);
      }
      case "compare":
        return this.#compare(node, scope);
      case "concat": {
        const texts = node.items.map((item) => textOf(this.#evaluate(item, scope), this.budget));
        return concat(texts, this.budget);
      }
    }
  }

  /** a < b < c: each pair is compared, up to the first that does not hold. */
  #compare({ first, rest }: Node<"compare">, scope: Scope): boolean {
    let left = this.#evaluate(first, scope);
    for (const [operator, node] of rest) {
      const right = this.#evaluate(node, scope);
      if (!compare(operator, left, right, this.budget)) {
        return false;
      }
      left = right;
    }
    return true;
  }

  #choose({ test, yes, no, line }: Node<"condition">, scope: Scope): Value {
    if (isTrue(this.#evaluate(test, scope))) {
      return this.#evaluate(yes, scope);
    }
    return no === undefined
      ? new Undefined(`the inline if-expression on line ${line} is false and has no else`)
      : this.#evaluate(no, scope);
  }
}
