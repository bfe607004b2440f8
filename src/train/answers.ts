// What a model answers to a few prompts, greedily: before a training, and after it.

import type { ChatFormat } from "../chat/format.js";
import { loadChatModel } from "../chat/model.js";

export interface AnsweredPrompt {
  prompt: string;
  answer: string;
}

const mostTokens = 200;

/** Chats of one question each, with the model's own template. */
export async function answerPrompts(
  path: string,
  prompts: readonly string[],
  options: { lora?: string; threads?: number; kernel?: string; format?: ChatFormat; signal?: AbortSignal } = {},
): Promise<AnsweredPrompt[]> {
  const { lora, threads, kernel, format, signal } = options;
  if (prompts.length === 0) {
    return [];
  }
  const model = await loadChatModel(path, { threads, kernel });
  try {
    const adapters = lora === undefined ? [] : [await model.loadAdapter(lora, { signal })];
    const answered: AnsweredPrompt[] = [];
    for (const prompt of prompts) {
      const chat = model.createChat({ adapters, format, generate: { temperature: 0, maxTokens: mostTokens } });
      try {
        const { text } = await chat.send(prompt, { signal }).result;
        answered.push({ prompt, answer: text });
      } finally {
        chat.close();
      }
    }
    return answered;
  } finally {
    model.close();
  }
}
