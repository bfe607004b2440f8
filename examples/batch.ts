// How to answer a file of requests on a server, and go on where it was stopped. Run by test/package/examples.test.ts.

import { type BatchSummary, httpTarget, runBatch } from "bitnet-cli";

export async function answerAll(server: string, input: string, output: string): Promise<BatchSummary> {
  return await runBatch({
    input,
    output,
    seed: 0,
    ordered: true,
    target: () => httpTarget(server, { tries: 3 }),
    signal: AbortSignal.timeout(3_600_000), // what is left then is done by the next call
    onProgress: ({ total, succeeded, failed }) => console.log(`${succeeded + failed} of ${total}`),
  });
}
