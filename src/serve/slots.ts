// Sequences that clients name: what a request evaluates with `id_slot` N stays, to be gone on with, saved or forgotten.

import type { Session } from "../engine/model.js";
import { ApiError } from "./errors.js";

interface Slot {
  session: Session;
  /** Whose it is: nobody else goes on with it. */
  client: string;
  isBusy: boolean;
}

/** A session for one request. */
export interface SessionLease extends AsyncDisposable {
  readonly session: Session;
}

export class SlotSessions {
  readonly count: number;
  readonly #slots = new Map<number, Slot>();

  constructor(count: number) {
    this.count = count;
  }

  /** The client's session in this place, made if there is none; undefined while another request uses it. */
  take(place: number, client: string, create: () => Session): SessionLease | undefined {
    const slot = this.#find(place, client, create);
    if (slot.isBusy) {
      return undefined;
    }
    slot.isBusy = true;
    return {
      session: slot.session,
      [Symbol.asyncDispose]: async () => {
        slot.isBusy = false;
        if (this.#slots.get(place) !== slot) {
          slot.session.close(); // its place was given to another client meanwhile
        }
      },
    };
  }

  /** Forgets what is in this place: how many tokens that were. */
  erase(place: number): number {
    const slot = this.#slots.get(place);
    this.#slots.delete(place);
    if (slot === undefined) {
      return 0;
    }
    const { length } = slot.session.tokens();
    if (!slot.isBusy) {
      slot.session.close();
    }
    return length;
  }

  close(): void {
    for (const place of [...this.#slots.keys()]) {
      this.erase(place);
    }
  }

  #find(place: number, client: string, create: () => Session): Slot {
    const found = this.#slots.get(place);
    if (found !== undefined && found.client === client) {
      return found;
    }
    this.erase(place);
    const slot: Slot = { session: create(), client, isBusy: false };
    this.#slots.set(place, slot);
    return slot;
  }
}

export function slotIsBusy(place: number): ApiError {
  return new ApiError("unavailable_error", `slot ${place} is in use`, { code: "slot_busy", retryAfter: 1 });
}
