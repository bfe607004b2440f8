// How to hold a conversation with the library. Run by test/examples.test.ts.

import { answerChat, Chat, loadModel, modelFormat } from "bitnet-cli";

export async function talk(path: string, questions: readonly string[], write: (text: string) => void): Promise<void> {
  await using model = await loadModel(path);
  await using session = model.createSession();

  // The model's own chat template, or the bitnet format if the file has none.
  const chat = new Chat(modelFormat(model.info.chatTemplate, model.tokenizer), model.tokenizer);
  chat.system = "You tell short stories.";

  for (const question of questions) {
    write(`> ${question}\n`);
    chat.addUser(question);
    // The answer becomes part of the chat. If the context is full, the oldest turns are forgotten.
    const answer = answerChat(chat, session, model.tokenizer, { maxTokens: 20, temperature: 0 });
    let next = await answer.next();
    for (; !next.done; next = await answer.next()) {
      write(next.value);
    }
    const { promptTokens, reusedTokens } = next.value.timings;
    write(`\n(${promptTokens - reusedTokens} of ${promptTokens} prompt tokens were new)\n`);
  }
}
