// How to hold a conversation with the library. Run by test/package/examples.test.ts.

import { loadModel } from "bitnet-cli";

export async function talk(path: string, questions: readonly string[], write: (text: string) => void): Promise<void> {
  await using model = await loadModel(path);

  // The model's own chat template, or the bitnet format if the file has none.
  await using chat = model.createChat({
    system: "You tell short stories.",
    generate: { maxTokens: 20, temperature: 0 },
  });

  for (const question of questions) {
    write(`> ${question}\n`);
    // The answer becomes part of the chat. If the context is full, the oldest turns are forgotten.
    const answer = chat.send(question);
    for await (const { text } of answer) {
      write(text);
    }
    const { promptTokens, reusedTokens } = (await answer.result).timings;
    write(`\n(${promptTokens - reusedTokens} of ${promptTokens} prompt tokens were new)\n`);
  }
}
