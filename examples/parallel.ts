// How to answer several prompts at once: a session each, computed together. Run by test/package/examples.test.ts.

import { loadModel } from "bitnet-cli";

export async function continueAll(path: string, beginnings: readonly string[]): Promise<string[]> {
  await using model = await loadModel(path);
  return Promise.all(
    beginnings.map(async (beginning) => {
      await using session = model.createSession({ contextSize: 256 });
      const { text } = await session.complete(beginning, { maxTokens: 20, temperature: 0 });
      return beginning + text;
    }),
  );
}
