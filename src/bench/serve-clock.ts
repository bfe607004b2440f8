// Time as the load sees it: of the machine, or of a test.

import { setTimeout as delay } from "node:timers/promises";

export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  /** Ends early, without an error, when `signal` fires. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export const machineClock: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => {}),
};
