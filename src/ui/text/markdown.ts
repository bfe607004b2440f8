// Blocks on the page. What the renderer made goes through DOMPurify with a list of what Markdown is made of, so that a
// fault of one of the two lets nothing through.

import createPurifier, { type Config } from "dompurify";
import { type Block, htmlOf } from "./blocks.js";

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

export function renderBlock({ source, token }: Block): DocumentFragment {
  if (token !== undefined) {
    try {
      return finish(purifier.sanitize(htmlOf(token), allowed));
    } catch {
      // Nested too deeply: plain.
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
    box.dir = "auto";
    table.removeAttribute("dir"); // its text gives the box its direction
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
