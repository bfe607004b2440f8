// The grammar of an answer: thinking if there is any, then text, calls, or the response that a schema or grammar wants.

import { Grammar } from "../../grammar/grammar.js";
import { type JsonSchema, writeSchemaGrammar } from "../../grammar/schema.js";
import { quoteText } from "../../grammar/text.js";
import { type ChatTokenizer, hasControlTokens } from "../encode.js";
import type { ChatFormat } from "../format.js";
import type { ThinkingTags } from "../thinking.js";
import { blanks, comma, GrammarRules, space, textWithout, textWithoutHead } from "./rules.js";
import { type CallSyntax, genericKeys, type TaggedSyntax } from "./syntax.js";
import { type AllowedTools, type IgnoredParameter, writeArguments } from "./tool.js";

/** Where an answer that a grammar holds may begin with thinking. */
export interface ThinkingRoom {
  /** undefined: the answer begins at once. */
  thinking: ThinkingTags | undefined;
  /** The prompt has written the opening tag already. */
  isThinking: boolean;
}

export interface AnswerForm extends ThinkingRoom {
  /** undefined: no calls. */
  syntax: CallSyntax | undefined;
  allowed: AllowedTools;
  /** What the response is held to; undefined: any text. */
  schema: JsonSchema | undefined;
  grammar: Grammar | undefined;
  /** The prompt has the beginning of the answer. */
  isBegun: boolean;
}

/** `isThinking`: the prompt opens it; `wanted`: as RenderOptions have it. A grammar does not reach control tokens. */
export function roomForThinking(
  { thinking, mayThink = false }: ChatFormat,
  tokenizer: ChatTokenizer,
  isThinking: boolean,
  wanted: boolean | undefined,
): ThinkingRoom {
  const isPossible = isThinking || (mayThink && wanted !== false);
  return isPossible && thinking !== undefined && !hasControlTokens(thinking.open + thinking.close, tokenizer)
    ? { thinking, isThinking }
    : { thinking: undefined, isThinking: false };
}

/** A grammar for an answer without tools, with room for thinking. */
export function leaveRoom(grammar: Grammar, room: ThinkingRoom): Grammar {
  const allowed = { tools: [], mustCall: false, isSingle: true };
  return room.thinking === undefined
    ? grammar
    : Grammar.fromParts(
        writeAnswerGrammar({ syntax: undefined, allowed, schema: undefined, grammar, isBegun: false, ...room }).source,
      );
}

export interface AnswerGrammar {
  /** For Grammar.fromParts. */
  source: string;
  /** What of the tools' schemas it does not hold to. */
  ignored: readonly IgnoredParameter[];
}

export function writeAnswerGrammar(form: AnswerForm): AnswerGrammar {
  const rules = new GrammarRules();
  const written = form.allowed.tools.map((tool) => ({ name: tool.function.name, ...writeArguments(tool) }));
  const answer = writeThinking(form, writeAnswer(rules, form, written));
  return {
    // Some vocabularies write a space before what they begin with.
    source: rules.write(form.isBegun ? `" "? (${answer})` : answer),
    ignored: written.flatMap(({ ignored }) => ignored),
  };
}

/** A tool with the grammar of its arguments. */
interface WrittenTool {
  name: string;
  text: string;
}

function writeThinking({ thinking, isThinking }: AnswerForm, answer: string): string {
  if (thinking === undefined) {
    return answer;
  }
  const thought = `${textWithout([thinking.close])} ${quoteText(thinking.close)} ${blanks}`;
  return isThinking ? `${thought} ${answer}` : `(${blanks} ${quoteText(thinking.open)} ${thought})? ${answer}`;
}

function writeAnswer(rules: GrammarRules, form: AnswerForm, tools: readonly WrittenTool[]): string {
  const { syntax } = form;
  if (syntax === undefined || tools.length === 0) {
    return writeResponse(rules, form) ?? textWithout(avoided(form));
  }
  const call = rules.add(tools.map((tool) => writeCall(rules, tool, syntax)).join(" | "));
  switch (syntax.kind) {
    case "generic":
      return rules.add(writeGeneric(rules, form, call));
    case "bare":
      return rules.add(form.allowed.mustCall ? call : `${textWithoutHead("{", avoided(form))} | ${blanks} ${call}`);
    case "tagged":
      return rules.add(writeTagged(rules, form, syntax, call));
  }
}

function writeResponse(rules: GrammarRules, { schema, grammar }: AnswerForm): string | undefined {
  if (schema !== undefined) {
    return rules.includeSchema(writeSchemaGrammar(schema));
  }
  return grammar === undefined ? undefined : rules.includeGrammar(grammar.source);
}

/** What text must not hold: the beginning of a call, and that of thinking, which would be read as such. */
function avoided({ syntax, thinking, isThinking }: AnswerForm): string[] {
  return [
    ...(syntax?.kind === "tagged" ? [syntax.open] : []),
    ...(thinking === undefined || isThinking ? [] : [thinking.open]),
  ];
}

function writeCall(rules: GrammarRules, { name, text }: WrittenTool, syntax: CallSyntax): string {
  const values = rules.includeSchema(text);
  const members = [
    `${quoteText('"name":')} ${space} ${quoteText(JSON.stringify(name))}`,
    `${quoteText(`"${syntax.argumentsKey}":`)} ${space} ${values}`,
  ];
  if (syntax.kind === "tagged" && syntax.writesIds) {
    members.push(`${quoteText('"id":')} ${space} "\\"" [A-Za-z0-9]{${syntax.idLength ?? 1}} "\\""`);
  }
  return rules.add(`"{" ${space} ${members.join(` ${comma} `)} ${space} "}"`);
}

function writeTagged(rules: GrammarRules, form: AnswerForm, syntax: TaggedSyntax, call: string): string {
  const isSingle = form.allowed.isSingle || !syntax.isRepeatable;
  const list = `"[" ${space} ${call}${isSingle ? "" : ` (${comma} ${call})*`} ${space} "]"`;
  const inside = syntax.isList ? list : call;
  const close = syntax.close === "" ? "" : ` ${blanks} ${quoteText(syntax.close)}`;
  const tagged = rules.add(`${quoteText(syntax.open)} ${blanks} ${inside}${close}`);
  const calls = isSingle || syntax.isList ? tagged : `${tagged} (${blanks} ${tagged})*`;
  if (form.allowed.mustCall) {
    return calls;
  }
  const response = writeResponse(rules, form);
  return response === undefined ? `${textWithout(avoided(form))} (${calls})?` : `${response} | ${calls}`;
}

function writeGeneric(rules: GrammarRules, form: AnswerForm, call: string): string {
  const { mustCall, isSingle } = form.allowed;
  const member = (key: string, value: string) =>
    `"{" ${space} ${quoteText(`"${key}":`)} ${space} ${value} ${space} "}"`;
  const choices = [member(genericKeys.call, call)];
  if (!isSingle) {
    choices.push(member(genericKeys.calls, `"[" ${space} ${call} (${comma} ${call})* ${space} "]"`));
  }
  if (!mustCall) {
    const held = writeResponse(rules, form);
    choices.push(
      held === undefined
        ? member(genericKeys.response, rules.includeSchema(writeSchemaGrammar({ type: "string" })))
        : `"{" ${space} ${quoteText(`"${genericKeys.response}": `)} ${held} "}"`, // which may have its own spaces
    );
  }
  return choices.join(" | ");
}
