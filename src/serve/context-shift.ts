// A chat that does not fit its context: its oldest turns are forgotten, whole, after the system message.

import type { FormatMessage } from "../chat/format.js";

/** A turn begins with a message of the user; what stands before the first one always stays. */
function turnStarts(messages: readonly FormatMessage[]): number[] {
  return messages.flatMap(({ role }, i) => (role === "user" ? [i] : []));
}

/** How many turns can be forgotten: all but the last. */
export function countDroppable(messages: readonly FormatMessage[]): number {
  return Math.max(0, turnStarts(messages).length - 1);
}

export function withoutTurns(messages: readonly FormatMessage[], count: number): FormatMessage[] {
  const starts = turnStarts(messages);
  const [first, next] = [starts[0], starts[count]];
  return first === undefined || next === undefined
    ? [...messages]
    : [...messages.slice(0, first), ...messages.slice(next)];
}

/**
 * As few turns as it takes for a prompt of at most `limit` tokens, or as many as there are; `lengthWithout` tells how long
 * the prompt is without so many of them, which falls with their number.
 */
export function countToDrop(droppable: number, limit: number, lengthWithout: (count: number) => number): number {
  let tooFew = -1;
  let enough = droppable;
  while (tooFew + 1 < enough) {
    const middle = (tooFew + enough) >> 1;
    if (lengthWithout(middle) <= limit) {
      enough = middle;
    } else {
      tooFew = middle;
    }
  }
  return enough;
}
