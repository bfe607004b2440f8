// A template as a tree.

export type Expression = { line: number } & (
  | { kind: "constant"; value: null | boolean | bigint | number | string }
  | { kind: "name"; name: string }
  | { kind: "list" | "tuple"; items: Expression[] }
  | { kind: "dict"; entries: [Expression, Expression][] }
  | { kind: "attribute"; object: Expression; name: string }
  | { kind: "item"; object: Expression; key: Expression }
  | { kind: "slice"; object: Expression; start?: Expression; stop?: Expression; step?: Expression }
  | ({ kind: "call"; callee: Expression } & CallArguments)
  | ({ kind: "filter"; name: string; input: Expression } & CallArguments)
  | ({ kind: "test"; name: string; input: Expression } & CallArguments)
  | { kind: "unary"; operator: "-" | "+" | "not"; operand: Expression }
  | { kind: "binary"; operator: string; left: Expression; right: Expression }
  | { kind: "logic"; operator: "and" | "or"; left: Expression; right: Expression }
  | { kind: "compare"; first: Expression; rest: [operator: string, Expression][] }
  | { kind: "concat"; items: Expression[] }
  | { kind: "condition"; test: Expression; yes: Expression; no: Expression | undefined }
);

export interface CallArguments {
  positional: Expression[];
  named: [string, Expression][];
  /** Of "*items". */
  spread?: Expression;
  /** Of "**entries". */
  spreadNamed?: Expression;
}

export type Target =
  | { kind: "name"; name: string }
  | { kind: "member"; name: string; attribute: string } // of a namespace
  | { kind: "tuple"; items: Target[] };

/** A filter without its input. */
export type FilterCall = { name: string; line: number } & CallArguments;

export interface MacroParts {
  name: string;
  parameters: { name: string; standard: Expression | undefined }[];
  body: Statement[];
  /** Names of Jinja's own that the body uses: "varargs", "kwargs", "caller". */
  uses: ReadonlySet<string>;
}

export type Statement = { line: number } & (
  | { kind: "data"; text: string }
  | { kind: "print"; expression: Expression }
  | { kind: "if"; branches: [Expression, Statement[]][]; otherwise: Statement[] }
  | {
      kind: "for";
      target: Target;
      items: Expression;
      filter: Expression | undefined;
      isRecursive: boolean;
      body: Statement[];
      otherwise: Statement[];
    }
  | { kind: "set"; target: Target; value: Expression }
  | { kind: "set-block"; target: Target; filters: FilterCall[]; body: Statement[] }
  | { kind: "filter-block"; filters: FilterCall[]; body: Statement[] }
  | { kind: "with"; assignments: [Target, Expression][]; body: Statement[] }
  | { kind: "macro"; macro: MacroParts }
  | { kind: "call-block"; call: Extract<Expression, { kind: "call" }>; caller: MacroParts }
  | { kind: "group"; body: Statement[] }
  | { kind: "break" | "continue" }
);
