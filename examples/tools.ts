// How a model calls functions of the program, and answers with what they returned. Run by test/package/examples.test.ts.

import { type FormatMessage, loadModel, type Tool } from "bitnet-cli";

const tools: Tool[] = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather of a town",
      parameters: {
        type: "object",
        properties: { town: { type: "string", maxLength: 20 }, days: { type: "integer", minimum: 1, maximum: 7 } },
        required: ["town", "days"],
        additionalProperties: false,
      },
    },
  },
];

// What the grammar lets through always has this form.
interface WeatherQuestion {
  town: string;
  days: number;
}

function getWeather({ town, days }: WeatherQuestion): string {
  return `${town}: ${Array.from({ length: days }, () => "rain").join(", ")}`;
}

export async function ask(path: string, question: string, write: (text: string) => void): Promise<void> {
  await using model = await loadModel(path);
  await using session = model.createSession({ contextSize: 1024 });
  const messages: FormatMessage[] = [{ role: "user", content: question }];
  // The first answer has to be a call; leave toolChoice out and the model chooses.
  const options = { tools, maxTokens: 120, temperature: 0 };
  const first = await model.answer(session, messages, { ...options, toolChoice: "required", parallelToolCalls: false })
    .result;
  messages.push(first.message);
  for (const { id, function: called } of first.calls) {
    const result = getWeather(JSON.parse(String(called.arguments)));
    write(`${called.name}: ${result}\n`);
    messages.push({ role: "tool", tool_call_id: id, content: result });
  }
  for await (const piece of model.answer(session, messages, { ...options, toolChoice: "none" })) {
    if (piece.kind === "text") {
      write(piece.text);
    }
  }
  write("\n");
}
