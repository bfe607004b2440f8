// How to get data instead of text: the answer is valid by a JSON schema. Run by test/package/examples.test.ts.

import { type JsonSchema, loadModel } from "bitnet-cli";

export interface Animal {
  name: string;
  kind: "cat" | "dog";
  age: number;
}

const schema: JsonSchema = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 20 },
    kind: { enum: ["cat", "dog"] },
    age: { type: "integer", minimum: 0, maximum: 30 },
  },
  required: ["name", "kind", "age"],
  additionalProperties: false,
};

export async function describeAnimal(path: string, question: string): Promise<Animal> {
  await using model = await loadModel(path);
  await using chat = model.createChat();
  const { text, finishReason } = await chat.send(question, { schema, maxTokens: 200, temperature: 0 }).result;
  if (finishReason !== "eog") {
    throw new Error(`the answer is not complete: ${finishReason}`); // a cut text is no JSON
  }
  return JSON.parse(text) as Animal;
}
