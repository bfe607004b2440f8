// Markdown of a model or a file, which are not trusted: raw HTML is text, there are no images, links go to http, https
// and mailto only. The renderer makes nothing else, and what it made goes through DOMPurify with a list of allowed tags.

import createPurifier, { type Config } from "dompurify";
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

const purifier = createPurifier(window);
const allowed: Config & { RETURN_DOM_FRAGMENT: true } = {
  ALLOWED_TAGS: [
    ..."a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong".split(" "),
    ..."table tbody td th thead tr ul".split(" "),
  ],
  ALLOWED_ATTR: ["href", "class", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ADD_URI_SAFE_ATTR: ["start", "align"], // they are no addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
purifier.addHook("afterSanitizeAttributes", (element) => {
  if (element.tagName === "A") {
    element.setAttribute("target", "_blank");
    element.setAttribute("rel", "noopener noreferrer");
  }
});

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

export function renderBlock({ source, token }: Block): DocumentFragment {
  if (token !== undefined) {
    try {
      return finish(purifier.sanitize(marked.parser([token]), allowed));
    } catch {
      // As above: plain.
    }
  }
  const fragment = document.createDocumentFragment();
  const paragraph = document.createElement("p");
  paragraph.className = "plain";
  paragraph.textContent = source;
  fragment.append(paragraph);
  return finish(fragment);
}

/** Writing directions, wide tables, and the head of code with its button. */
function finish(fragment: DocumentFragment): DocumentFragment {
  for (const block of fragment.children) {
    block.setAttribute("dir", block.tagName === "PRE" ? "ltr" : "auto");
  }
  for (const table of fragment.querySelectorAll("table")) {
    const box = document.createElement("div");
    box.className = "table";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Table");
    table.replaceWith(box);
    box.append(table);
  }
  for (const code of fragment.querySelectorAll("pre")) {
    addCodeHead(code);
  }
  return fragment;
}

function addCodeHead(code: HTMLElement): void {
  const language = /language-(\S+)/.exec(code.firstElementChild?.className ?? "")?.[1] ?? "";
  const box = document.createElement("div");
  box.className = "code";
  box.dir = "ltr";
  const head = document.createElement("div");
  head.className = "code-head";
  const label = document.createElement("span");
  label.textContent = language || "code";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet small";
  button.textContent = "Copy";
  button.dataset.copy = "code";
  head.append(label, button);
  code.replaceWith(box);
  code.tabIndex = 0;
  box.append(head, code);
}
