// How to use the library: load a model, stream text, stop it, continue it. Run by test/package/examples.test.ts.

import { BitnetError, loadModel } from "bitnet-cli";

export async function tellStory(path: string, write: (text: string) => void): Promise<void> {
  await using model = await loadModel(path);
  await using session = model.createSession({ contextSize: 512 });

  // Piece by piece, at most 40 tokens, always the likeliest.
  const prompt = "Once upon a time";
  write(prompt);
  for await (const piece of session.generate(prompt, { maxTokens: 40, temperature: 0 })) {
    write(piece.text);
  }

  // All at once, with the reason why it ended. The session remembers the prompt: only new tokens are computed.
  const answer = await session.generate(`${prompt}, there was`, { maxTokens: 100, seed: 1, stop: ["."] }).result;
  write(`\n\n${answer.text} (${answer.finishReason}, ${answer.timings.reusedTokens} tokens reused)\n`);

  // A signal ends a generation; the session stays usable.
  const controller = new AbortController();
  try {
    for await (const piece of session.generate(prompt, { signal: controller.signal })) {
      write(piece.text);
      controller.abort();
    }
  } catch (error) {
    if (!(error instanceof BitnetError && error.code === "ABORTED")) {
      throw error;
    }
    write("\n(stopped)\n");
  }
}
