// Signals that are joined for a while.

import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { JoinedSignal } from "../../src/system/signals.js";

test("fires with the first of its signals, and with its reason", () => {
  const [a, b] = [new AbortController(), new AbortController()];
  using joined = new JoinedSignal(a.signal, undefined, b.signal);
  expect(joined.signal.aborted).toBe(false);
  b.abort("b");
  a.abort("a");
  expect(joined.signal.reason).toBe("b");
  using late = new JoinedSignal(a.signal, b.signal);
  expect(late.signal.reason).toBe("a");
});

test("leaves nothing with a signal that lasts, whether it was disposed or has fired", () => {
  const lasting = new AbortController().signal;
  for (let i = 0; i < 100; i++) {
    const own = new AbortController();
    using joined = new JoinedSignal(lasting, own.signal);
    if (i % 2 === 0) {
      own.abort();
    }
    expect(joined.signal.aborted).toBe(i % 2 === 0);
  }
  expect(getEventListeners(lasting, "abort")).toEqual([]);
  // What the platform keeps of AbortSignal.any() has no name, but stands in a field of the signal.
  const kept = Object.getOwnPropertySymbols(lasting).map((key) => (lasting as never)[key]);
  expect(kept.every((value) => !((value as unknown) instanceof Set) || (value as Set<unknown>).size === 0)).toBe(true);
});

test("does not fire any more once it is disposed", () => {
  const source = new AbortController();
  const joined = new JoinedSignal(source.signal);
  joined[Symbol.dispose]();
  source.abort();
  expect(joined.signal.aborted).toBe(false);
});
