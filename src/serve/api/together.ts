// Several requests of one body: they run together, and end together when one fails or the client leaves.

import { Channel } from "../channel.js";
import type { ServerContext } from "../context.js";
import { collectAnswers, type RunContext, type TextEvent, type TextRequest, type TextResult } from "../request.js";

/** An event of the request at place `place`. */
export interface PlacedEvent {
  place: number;
  event: TextEvent;
}

/** The results in the order of the requests. */
export async function collectTogether(
  context: ServerContext,
  requests: readonly TextRequest[],
  run: RunContext,
): Promise<TextResult[]> {
  const failed = new AbortController();
  const signal = AbortSignal.any([run.signal, failed.signal]);
  try {
    return await Promise.all(requests.map((request) => collectAnswers(context.run(request, { ...run, signal }))));
  } finally {
    failed.abort();
  }
}

/** The events of all of them as they come. */
export async function* runTogether(
  context: ServerContext,
  requests: readonly TextRequest[],
  run: RunContext,
): AsyncGenerator<PlacedEvent, void, undefined> {
  const left = new AbortController();
  const signal = AbortSignal.any([run.signal, left.signal]);
  const events = new Channel<PlacedEvent>();
  const pump = async (request: TextRequest, place: number) => {
    for await (const event of context.run(request, { ...run, signal })) {
      events.push({ place, event });
    }
  };
  Promise.all(requests.map(pump)).then(
    () => events.close(),
    (error: unknown) => events.close({ error }),
  );
  try {
    yield* events;
  } finally {
    left.abort();
  }
}
