// How to stop an answer: a chat keeps what was said, a generation throws. Run by test/package/examples.test.ts.

import { BitnetError, loadModel } from "bitnet-cli";

export async function stopEarly(path: string, write: (text: string) => void): Promise<void> {
  await using model = await loadModel(path);

  await using chat = model.createChat();
  const controller = new AbortController();
  const answer = chat.send("Tell me a long story.", { signal: controller.signal });
  for await (const { text } of answer) {
    write(text);
    controller.abort(); // by a button, say
  }
  const { finishReason } = await answer.result; // no error: what there is of the answer stays in the chat
  write(`\n(${finishReason}; ${chat.messages.length} messages)\n`);

  await using session = model.createSession();
  try {
    await session.complete("Once upon a time", { signal: AbortSignal.timeout(0) });
  } catch (error) {
    if (!(error instanceof BitnetError && error.code === "ABORTED")) {
      throw error;
    }
    write(`(${error.code})\n`); // the session can go on with another prompt
  }
}
