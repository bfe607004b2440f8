// Chat templates: the same text as Jinja2, or an error that says what is not supported; and always an end.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { jinjaFormat } from "../../src/chat/format.js";
import { Budget, TemplateError } from "../../src/chat/template/limits.js";
import { type Plain, Template } from "../../src/chat/template/template.js";
import { FakeTokenizer } from "../support/fake-model.js";
import { readFixture } from "../support/fixtures.js";

interface Outcome {
  text?: string;
  error?: string;
}

type Variables = Readonly<Record<string, Plain>>;

function render(source: string, variables: Variables, now?: Date): Outcome {
  try {
    return { text: new Template(source).render(variables, new Budget(), now) };
  } catch (error) {
    if (!(error instanceof TemplateError)) {
      throw error;
    }
    return { error: error.message };
  }
}

function readGolden<T>(name: string): T {
  return JSON.parse(readFixture("templates", name).toString()) as T;
}

// Made by scripts/make-template-golden.py.
const expressions = readGolden<{ now: string; variables: Variables; cases: (Outcome & { template: string })[] }>(
  "expressions.golden.json",
);
const templates = readGolden<{
  standard: Variables;
  conversations: Record<string, Variables>;
  cases: (Outcome & { file: string; conversation: string })[];
}>("templates.golden.json");
const now = new Date(expressions.now);

// What Jinja2 renders and this interpreter refuses. Everything else is equal.
const refused = [
  "{{ none[1:] }}",
  "{{ 'abcdef'['a':] }}",
  "{{ l.reverse }}",
  "{{ '\\u01c6a'.capitalize() }}",
  "{{ '\\u00b2'.isdigit() }}",
  "{{ 'ab'.swapcase() }}",
  "{{ 'ab'.encode() }}",
  "{{ 'abc'.__class__ }}",
  "{{ d.__class__ }}",
  "{{ (-8) ** (1 / 3) }}",
  "{{ 10 ** 20 / 3 }}",
  "{{ '%c' % 65 }}",
  "{{ '%*d' % (5, 3) }}",
  "{{ [0.1, 0.2, 0.3] | sum }}",
  "{{ '<b>x</b>' | striptags }}",
  "{{ 'a b' | urlencode }}",
  "{{ 'abc' | wordwrap(2) }}",
  "{{ [1] | pprint }}",
  "{{ 1024 | filesizeformat }}",
  "{{ {'a': 1} | xmlattr }}",
  "{{ [1] | random is defined }}",
  "{{ 'http://x.y' | urlize }}",
  "{{ ('a,b' | safe).split('x') }}",
  "{{ d.keys() - l }}",
  "{{ strftime_now('%A, %B %d, %Y %H:%M:%S %p %I %y %j') }}",
  "{{ self }}",
  "{% macro p() %}a{% endmacro %}{{ p is defined }}{{ p is callable }}{{ p.name }}",
  "{% block a %}b{% endblock %}",
  "{% autoescape true %}{{ '<' }}{% endautoescape %}",
  "{{ 1 | nofilter if f else 2 }}",
];

describe("a template writes what Jinja2 does, or is an error where that is one", () => {
  test.each(expressions.cases)("$template", ({ template, text }) => {
    const outcome = render(template, expressions.variables, now);
    if (refused.includes(template)) {
      expect(outcome.error).toContain("not supported");
    } else {
      expect(outcome).toEqual(text === undefined ? { error: expect.any(String) } : { text });
    }
  });

  test.each(templates.cases)("$file, $conversation", ({ file, conversation, text }) => {
    const source = readFixture("templates", file).toString();
    const outcome = render(source, { ...templates.standard, ...templates.conversations[conversation] }, now);
    expect(outcome).toEqual(text === undefined ? { error: expect.any(String) } : { text });
  });

  test("in the tables above", () => {
    const rendered = expressions.cases.filter(({ text }) => text !== undefined).map(({ template }) => template);
    expect(rendered).toEqual(expect.arrayContaining(refused));
    expect(rendered.length).toBeGreaterThan(700);
    expect(templates.cases.length).toBeGreaterThanOrEqual(50);
  });
});

const deep = (open: string, close: string, count = 30_000) => open.repeat(count) + close.repeat(count);
const grow = (what: string, start = "'x'") =>
  `{% set ns = namespace(s=${start}) %}{% for i in range(99) %}{% set ns.s = ${what} %}{% endfor %}{{ ns.s }}`;
const often = (what: string, set = "") =>
  `{% set s = ${set || "1"} %}{% for i in range(100000) %}{% set y = ${what} %}{% endfor %}`;

const manyKeys = "dict(range(100000) | map('string') | batch(2))";

describe("a template that would never end, or take all memory, is an error in one line", () => {
  test.each([
    ["loops inside each other", "{% for a in range(3000) %}{% for b in range(3000) %}{% endfor %}{% endfor %}x"],
    ["a huge range", "{% for i in range(100000000) %}x{% endfor %}"],
    ["a text that is doubled", grow("ns.s ~ ns.s")],
    ["a list that is doubled", grow("ns.s + ns.s", "[0]")],
    ["a list of two of itself", grow("[ns.s, ns.s]", "[0]")],
    ["a tuple of two of itself as a key", grow("(ns.s, ns.s)", "(0,)").replace("{{ ns.s }}", "{{ {ns.s: 1} }}")],
    ["lists that are compared", grow("[ns.s, ns.s]", "[0]").replace("{{ ns.s }}", "{{ ns.s == ns.s[:] }}")],
    ["a text that grows by replace()", grow("ns.s.replace('x', 'xxxxxxxxxx')")],
    ["an int that is squared", grow("ns.s * ns.s", "3")],
    ["a repeated text", "{{ 'x' * 10**9 }}"],
    ["a repeated list", "{{ ([0] * 10**9) | length }}"],
    ["copies of a list", often("s[:]", "range(100000) | list")],
    ["copies of a list by its method", often("s.copy()", "range(100000) | list")],
    ["a dict that is spread", `{% macro m() %}{{ kwargs }}{% endmacro %}${often("m(**s)", manyKeys)}`],
    ["namespaces of a dict", often("namespace(s)", manyKeys)],
    ["groups of a long int", often("'{:,}'.format(s)", "10 ** 4000")],
    ["copies of a dict", often("s.copy()", manyKeys)],
    ["lists that are sorted", often("s | sort", "range(100000) | list")],
    ["reading a long text again and again", often("s.strip()", "' ' * 1000000")],
    ["measuring a long text", often("s | length", "'\u{1F600}' * 1000000")],
    ["asking for the case of a long text", often("s is lower", "'1' * 4000000")],
    ["a long text that is a key", often("s in {'a': 1}", "'x' * 4000000")],
    ["powers", "{{ 10 ** (10 ** 10) }}"],
    ["powers of long ints", often("s ** 16", "10 ** 200")],
    ["a replacement of nothing", "{{ ('x' * 1000000).replace('', 'y' * 100000) }}"],
    ["a join with a long text", "{{ ('y' * 1000000).join('x' * 1000000) }}"],
    ["a wide format", "{{ '%999999999d' % 1 }}"],
    ["a wide replacement field", "{{ '{:999999999}'.format(1) }}"],
    ["a wide center", "{{ 'x'.center(10**10) }}"],
    ["a wide indent", "{{ ('x\n' * 100000) | indent(10**6) }}"],
    ["a wide tojson", "{{ [[1]] | tojson(indent=10**9) }}"],
    ["many batches", "{{ [1] | batch(10**9, 0) | list }}"],
    ["output without end", "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}"],
    ["a macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"],
    [
      "a macro that calls itself twice",
      "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(90) }}",
    ],
    ["a block that calls itself", "{% macro m() %}{% call m() %}{% endcall %}{% endmacro %}{{ m() }}"],
    ["a loop that calls itself", "{% for a in [1] recursive %}{{ loop([a]) }}{% endfor %}"],
    ["a namespace inside itself", "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}"],
    ["parentheses", `{{ ${deep("(", ")")} }}`],
    ["lists", `{{ ${deep("[", "]")} }}`],
    ["ifs", deep("{% if true %}", "{% endif %}", 9000)],
    ["signs", `{{ ${"-".repeat(90_000)}1 }}`],
    ["nots", `{{ ${"not ".repeat(60_000)}1 }}`],
    ["a long sum", `{{ ${"1 + ".repeat(60_000)}1 }}`],
    ["a chain of filters", `{{ 1${" | string".repeat(25_000)} }}`],
    ["braces", "{".repeat(260_000)],
    ["tags", "{%".repeat(130_000)],
    ["10 MB", "x".repeat(10_000_000)],
  ])("%s", (_, source) => {
    const tokenizer = new FakeTokenizer();
    const attempt = () => jinjaFormat(source, "model", tokenizer).render([{ role: "user", content: "Hi" }], true);
    expect(attempt).toThrow(
      expect.objectContaining({
        code: "BAD_FILE",
        message: expect.stringMatching(/^the model's chat template .{1,400}$/),
        hint: expect.stringContaining("--chat-template"),
      }),
    );
  });

  test("which says whether it takes too long or writes too much", () => {
    const failing = (source: string) => () => jinjaFormat(source, "model", new FakeTokenizer()).render([], true);
    expect(failing(often("1 + 1").repeat(20))).toThrow(/^the model's chat template takes too long$/);
    expect(failing(grow("ns.s ~ ns.s"))).toThrow(/^the model's chat template writes too much$/);
  });

  test("but a long chat with long messages is none", () => {
    const source =
      "{% for m in messages %}{% if m.role == 'user' and m.content is string %}[{{ m.content | trim }}]" +
      "{% else %}{{ m.content.split('</think>')[-1].strip() }}{% endif %}{% endfor %}";
    const format = jinjaFormat(source, "model", new FakeTokenizer());
    const turn = (i: number) => ({ role: i % 2 === 0 ? "user" : "assistant", content: "\u{1F600} words ".repeat(50) });
    expect(
      format.render(
        Array.from({ length: 3000 }, (_, i) => turn(i)),
        true,
      ).length,
    ).toBeGreaterThan(1_000_000);
    expect(format.render([{ role: "user", content: "word ".repeat(2_000_000) }], true)).toHaveLength(10_000_001);
  });
});

describe("any text as a template", () => {
  const piece = fc.constantFrom(
    ...[
      "{{",
      "}}",
      "{%",
      "%}",
      "{#",
      "#}",
      "-",
      "+",
      "\n",
      " ",
      "'",
      '"',
      "\\",
      "(",
      ")",
      "[",
      "]",
      "{",
      "}",
      "|",
      ".",
    ],
    ...["if", "else", "endif", "for", "in", "endfor", "set", "endset", "macro", "endmacro", "raw", "endraw", "call"],
    ...["x", "messages", "loop", "1", "0", "2.5", "true", "none", "is", "not", "and", "defined", "string", "join"],
    ...["=", "==", "<", "~", "*", "**", "//", "%", ",", ":", "namespace", "range", "tojson", "split", "a.b", "caller"],
  );
  const source = fc.oneof(
    fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join("")),
    fc.array(piece, { maxLength: 12 }).map((pieces) => `{{ ${pieces.join(" ")} }}`),
    fc.array(piece, { maxLength: 12 }).map((pieces) => `{% ${pieces.join(" ")} %}`),
    fc.string({ unit: "grapheme" }),
  );

  test("is rendered or is an error that names the template", () => {
    const tokenizer = new FakeTokenizer();
    fc.assert(
      fc.property(source, (text) => {
        try {
          const format = jinjaFormat(text, "x", tokenizer);
          expect(typeof format.render([{ role: "user", content: "Hi" }], true)).toBe("string");
        } catch (error) {
          expect(error).toMatchObject({ code: "BAD_FILE", message: expect.stringMatching(/^the chat template x /) });
        }
      }),
      { numRuns: 3000 },
    );
  });

  test("that has no tags is written as it is, but for its last line end", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        fc.pre(!/\{[{%#]|\r/.test(text));
        expect(render(text, {})).toEqual({ text: text.replace(/\n$/, "") });
      }),
    );
  });

  test("written as a string is that string", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const quoted = text.replace(/[\\'\n\r]/g, (unit) => `\\x${unit.charCodeAt(0).toString(16).padStart(2, "0")}`);
        expect(render(`{{ '${quoted}' }}`, {})).toEqual({ text });
      }),
    );
  });

  test("with a value of any JSON writes it with tojson as JSON", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const { text = "" } = render("{{ value | tojson }}", { value: value as Plain });
        expect(JSON.stringify(JSON.parse(text))).toBe(JSON.stringify(value));
      }),
    );
  });
});
