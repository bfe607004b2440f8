// Texts as blocks of Markdown. The texts are not trusted: raw HTML is text, there are no images, links go to http, https
// and mailto only. What a block becomes on the page is in markdown.ts.

import { Marked, type Token } from "marked";
import { highlight } from "./highlight.js";

const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (character) => escapes[character] ?? "");

const marked = new Marked({
  gfm: true,
  tokenizer: {
    // No HTML blocks and no HTML tags: their text takes part in the paragraph around it.
    html: () => undefined,
    tag: () => undefined,
  },
  renderer: {
    html: ({ text }) => escapeHtml(text),
    image: ({ text, href }) => escapeHtml(text || href),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code({ text, lang = "" }) {
      const language = /^[\w+#-]{1,20}/.exec(lang)?.[0] ?? "";
      return `<pre><code class="language-${language}">${highlight(text, language) ?? escapeHtml(text)}</code></pre>`;
    },
    link({ href, tokens }) {
      const text = this.parser.parseInline(tokens);
      return isAllowed(href) ? `<a href="${escapeHtml(href)}">${text}</a>` : text;
    },
  },
});

function isAllowed(href: string): boolean {
  return URL.canParse(href) && ["http:", "https:", "mailto:"].includes(new URL(href).protocol);
}

/** A piece of a text that is rendered by itself. */
export interface Block {
  /** Where it is among the blocks of its text. */
  place: number;
  source: string;
  /** The token of `source`; undefined: the text is shown as it is. */
  token?: Token;
}

/** Texts beyond this are no answers; they are shown plain. In characters. */
const longest = 1_000_000;

/** The blocks of a text: paragraphs, lists, code ... */
export function blocksOf(text: string, firstPlace = 0): Block[] {
  if (text.length > longest) {
    return [{ place: firstPlace, source: text }];
  }
  try {
    return marked
      .lexer(text)
      .filter(({ type }) => type !== "space" && type !== "def")
      .map((token, i) => ({ place: firstPlace + i, source: token.raw, token }));
  } catch {
    return [{ place: firstPlace, source: text }]; // nested deeper than the parser can go
  }
}

/** HTML of nothing but Markdown's own elements. May throw, where a block is nested deeper than the parser can go. */
export function htmlOf(token: Token): string {
  return marked.parser([token]);
}
