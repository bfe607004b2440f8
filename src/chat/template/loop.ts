// The variable "loop" of a for block.

import { createFunction } from "./arguments.js";
import { TemplateError } from "./limits.js";
import {
  type Arguments,
  Callable,
  Helper,
  isEqual,
  orElse,
  type Runtime,
  Tuple,
  Undefined,
  type Value,
} from "./values.js";

export class Loop extends Helper {
  readonly name = "LoopContext";
  readonly #items: readonly Value[];
  readonly #depth: number;
  readonly #runtime: Runtime;
  readonly #recurse: ((items: Value) => Value) | undefined;
  #last: Value | undefined; // what changed() saw
  index0 = 0;

  /** `recurse` renders the block again for other items, one level deeper. */
  constructor(items: readonly Value[], depth: number, runtime: Runtime, recurse?: (items: Value) => Value) {
    super();
    this.#items = items;
    this.#depth = depth;
    this.#runtime = runtime;
    this.#recurse = recurse;
  }

  attribute(name: string): Value | undefined {
    const { length } = this.#items;
    const at = (index: number) => orElse(this.#items[index], () => new Undefined("there is no such item"));
    switch (name) {
      case "index":
        return BigInt(this.index0 + 1);
      case "index0":
        return BigInt(this.index0);
      case "revindex":
        return BigInt(length - this.index0);
      case "revindex0":
        return BigInt(length - this.index0 - 1);
      case "first":
        return this.index0 === 0;
      case "last":
        return this.index0 === length - 1;
      case "length":
        return BigInt(length);
      case "depth":
        return BigInt(this.#depth);
      case "depth0":
        return BigInt(this.#depth - 1);
      case "previtem":
        return at(this.index0 - 1);
      case "nextitem":
        return at(this.index0 + 1);
      case "cycle":
        return new Callable(name, ({ positional }) => this.#cycle(positional));
      case "changed":
        return new Callable(name, ({ positional }) => this.#changed(new Tuple(positional)));
      default:
        return undefined;
    }
  }

  override call(args: Arguments): Value {
    const recurse = this.#recurse;
    if (recurse === undefined) {
      throw new TemplateError("The loop must have the 'recursive' marker to be called recursively.");
    }
    return createFunction("loop", "iterable", ([items = null]) => recurse(items)).call(args);
  }

  #cycle(items: readonly Value[]): Value {
    const item = items[this.index0 % items.length];
    if (item === undefined) {
      throw new TemplateError("no items for cycling given");
    }
    return item;
  }

  #changed(value: Value): boolean {
    const isSame = this.#last !== undefined && isEqual(this.#last, value, this.#runtime.budget);
    this.#last = value;
    return !isSame;
  }
}
