// A generation as its readers see it: a loop, a result, both, or neither to the end.

import { describe, expect, test } from "vitest";
import { Generation } from "../../src/engine/generation.js";

/** Counts to `count`, in its own time; tells how far it came and whether it was cleaned up. */
function counting(count: number, fails = false) {
  const state = { started: 0, ended: false };
  async function* source(): AsyncGenerator<number, string, undefined> {
    try {
      for (let i = 1; i <= count; i++) {
        state.started = i;
        await new Promise((resolve) => setImmediate(resolve));
        yield i;
      }
      if (fails) {
        throw new Error("broken");
      }
      return `counted to ${count}`;
    } finally {
      state.ended = true;
    }
  }
  return { state, generation: new Generation(source()) };
}

async function collect(generation: AsyncIterable<number>): Promise<number[]> {
  const all: number[] = [];
  for await (const item of generation) {
    all.push(item);
  }
  return all;
}

describe("a generation", () => {
  test("does nothing until it is asked", async () => {
    const { state, generation } = counting(3);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(state.started).toBe(0);
    expect(await generation.result).toBe("counted to 3");
  });

  test("gives every piece to the loop and then the result", async () => {
    const { generation } = counting(3);
    expect(await collect(generation)).toEqual([1, 2, 3]);
    expect(await generation.result).toBe("counted to 3");
  });

  test("can be driven by hand: the last value is the result", async () => {
    const { generation } = counting(1);
    expect(await generation.next()).toEqual({ done: false, value: 1 });
    expect(await generation.next()).toEqual({ done: true, value: "counted to 1" });
    expect(await generation.next()).toEqual({ done: true, value: undefined });
  });

  test("keeps the pieces for the loop when the result was asked for first, or in between", async () => {
    for (let readBefore = 0; readBefore <= 5; readBefore++) {
      const { generation } = counting(5);
      const read: number[] = [];
      for (let i = 0; i < readBefore; i++) {
        read.push((await generation.next()).value as number);
      }
      const { result } = generation;
      read.push(...(await collect(generation)));
      expect(read).toEqual([1, 2, 3, 4, 5]);
      expect(await result).toBe("counted to 5");
      expect(await generation.result).toBe("counted to 5");
    }
  });

  test("ends its work when the loop is left, and has no result then", async () => {
    const { state, generation } = counting(100);
    for await (const item of generation) {
      if (item === 2) {
        break;
      }
    }
    expect(state).toEqual({ started: 2, ended: true });
    await expect(generation.result).rejects.toMatchObject({ code: "ABORTED" });
  });

  test("ends its work at the end of its scope", async () => {
    const { state, generation } = counting(100);
    {
      await using scoped = generation;
      await scoped.next();
    }
    expect(state).toEqual({ started: 1, ended: true });
  });

  test("fails in the loop and in the result", async () => {
    const { generation } = counting(2, true);
    await expect(collect(generation)).rejects.toThrow("broken");
    await expect(generation.result).rejects.toThrow("broken");
    const unread = counting(2, true).generation;
    await expect(unread.result).rejects.toThrow("broken");
  });
});
