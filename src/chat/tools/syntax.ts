// How calls stand in an answer. The parser of answers, their grammar and the messages of earlier turns all go by it.

/** JSON between tags after any text, as `<tool_call>{"name": ..., "arguments": ...}</tool_call>`. */
export interface TaggedSyntax {
  kind: "tagged";
  open: string;
  /** "" where nothing ends a call. */
  close: string;
  /** One pair of tags is around a list of calls. */
  isList: boolean;
  argumentsKey: "arguments" | "parameters";
  /** Ids have so many letters and digits. */
  idLength?: number;
  /** A call ends with its id. */
  writesIds: boolean;
  /** Can an answer have several calls? */
  isRepeatable: boolean;
}

/** The answer is the JSON of one call, and no text begins like one: `{"name": ..., "parameters": ...}`. */
export interface BareSyntax {
  kind: "bare";
  argumentsKey: "arguments" | "parameters";
  isRepeatable: false;
}

/** The answer is an object that holds one call, a list of them or the response as text: for models that know no tools. */
export interface GenericSyntax {
  kind: "generic";
  argumentsKey: "arguments";
  isRepeatable: true;
}

export type NativeSyntax = TaggedSyntax | BareSyntax;
export type CallSyntax = NativeSyntax | GenericSyntax;

export const genericSyntax: GenericSyntax = { kind: "generic", argumentsKey: "arguments", isRepeatable: true };

/** Names in answers of the generic syntax. */
export const genericKeys = { call: "tool_call", calls: "tool_calls", response: "response" } as const;

/** What of an answer that has tools may be beside calls. */
export type ResponseKind =
  | "text" // any
  | "held"; // what a schema or grammar wants
