// An answer to messages as OpenAI's interface has them, with tools, in a session of its own.

import { randomInt, randomUUID } from "node:crypto";
import type { FinishReason, GenerateTimings } from "../../engine/generate.js";
import { Generation } from "../../engine/generation.js";
import type { Session } from "../../engine/model.js";
import { checkGenerateOptions, type GenerateOptions } from "../../engine/request.js";
import { TextStream } from "../../engine/text-stream.js";
import { encodeBegun, encodeChat, findMarkers } from "../encode.js";
import type { ChatFormat, FormatMessage, RenderOptions, ToolCall } from "../format.js";
import { controlTagOf } from "../thinking.js";
import type { AnswerCall, AnswerPiece } from "./parser.js";
import { planTools, type ToolPlan } from "./plan.js";
import type { IgnoredParameter, Tool, ToolChoice } from "./tool.js";

export interface MessagesOptions extends GenerateOptions {
  /** What the model may call. Default: none. */
  tools?: readonly Tool[];
  /** Default: "auto". */
  toolChoice?: ToolChoice;
  /** May the answer have several calls? Default: true. */
  parallelToolCalls?: boolean;
  /** Whether the model is to think before it answers, if its template leaves the choice. Default: as it likes. */
  thinking?: boolean;
  /** More variables of the template. */
  variables?: RenderOptions["variables"];
}

export interface MessagesResult {
  /** "" beside calls that say nothing. */
  text: string;
  thinking?: string;
  /** Only whole ones. */
  calls: readonly ToolCall[];
  /** false: the answer was cut, in a call or in the JSON that is around it. */
  isComplete: boolean;
  /** What of the tools' schemas the calls need not obey, where `strict: false` allows that. */
  ignored: readonly IgnoredParameter[];
  /**
   * The answer as a message, for the next prompt, instead of one that was to be continued. Results of its calls follow with
   * the role "tool".
   */
  message: FormatMessage;
  finishReason: FinishReason;
  stopString?: string;
  seed: number;
  timings: GenerateTimings;
}

/**
 * Streams the answer to `messages`; a last one that is an answer without calls is continued. Throws USAGE for wrong options,
 * tools and schemas.
 */
export function answerMessages(
  format: ChatFormat,
  session: Session,
  messages: readonly FormatMessage[],
  options: MessagesOptions = {},
): Generation<AnswerPiece, MessagesResult> {
  const { tools, toolChoice, parallelToolCalls, thinking, variables, ...generate } = options;
  checkGenerateOptions("answer", generate);
  const { schema, grammar, seed = randomInt(2 ** 32), ...rest } = generate;
  const { tokenizer } = session;
  const plan = planTools(format, tokenizer, {
    ...{ messages, tools, schema, grammar, thinking, variables },
    ...{ choice: toolChoice, parallel: parallelToolCalls },
  });
  return new Generation(streamMessages(format, session, messages, plan, { ...rest, seed }));
}

async function* streamMessages(
  format: ChatFormat,
  session: Session,
  messages: readonly FormatMessage[],
  plan: ToolPlan,
  { stop = [], seed, ...options }: GenerateOptions & { seed: number },
): AsyncGenerator<AnswerPiece, MessagesResult, undefined> {
  const { tokenizer } = session;
  const begun = encodeBegun(plan.begun, tokenizer, findMarkers(format, tokenizer));
  const prompt = [...encodeChat(format, tokenizer, plan.messages, true, plan.options), ...begun];
  const stream = new TextStream(tokenizer, stop, begun);
  const parser = plan.createParser();
  const tokens = session.generateTokens(prompt, { ...options, seed, grammar: plan.grammar, begun });
  for await (const { id } of tokens) {
    yield* parser.push(stream.push(id));
    const tag = controlTagOf(format.thinking, tokenizer, id);
    if (tag !== "") {
      yield* parser.push(stream.release() + tag);
    }
    if (stream.stopString !== undefined) {
      break;
    }
  }
  yield* parser.push(stream.finish());
  yield* parser.finish();
  const { stopString } = stream;
  const finishReason = stopString === undefined ? (await tokens.result).finishReason : "stop";
  const { text, thinking, isComplete } = parser;
  const calls = parser.calls.filter((call) => call.isWhole).map(toToolCall);
  const content = (plan.begun === "" ? "" : (messages.at(-1)?.content ?? "")) + text;
  return {
    ...{ text, calls, isComplete, ignored: plan.ignored, finishReason, seed },
    ...(thinking === "" ? {} : { thinking }),
    message: {
      role: "assistant",
      content: content === "" && calls.length > 0 ? null : content,
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
    },
    ...(stopString === undefined ? {} : { stopString }),
    timings: session.timings,
  };
}

function toToolCall({ name, arguments: written }: AnswerCall): ToolCall {
  return { id: `call_${randomUUID().replaceAll("-", "")}`, type: "function", function: { name, arguments: written } };
}
