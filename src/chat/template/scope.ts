// Names and what they stand for, from the innermost block outwards.

import { unsupported } from "./limits.js";
import { Undefined, type Value } from "./values.js";

export class Scope {
  readonly #values = new Map<string, Value>();
  readonly #parent: Scope | undefined;

  constructor(parent?: Scope) {
    this.#parent = parent;
  }

  set(name: string, value: Value): void {
    this.#values.set(name, value);
  }

  get(name: string): Value {
    // A loop, not a recursion: macros inside each other make long chains.
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.#parent) {
      const value = scope.#values.get(name);
      if (value !== undefined) {
        return value;
      }
    }
    if (name === "self") {
      throw unsupported("the variable 'self'");
    }
    return new Undefined(`'${name}' is undefined`);
  }
}
