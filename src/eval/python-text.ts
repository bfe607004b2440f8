// Texts as Python's str methods see them.

// What str.isspace() says yes to; JavaScript's \\s has U+FEFF, too, and lacks the separators of ASCII and U+0085.
const space = "[\\u0009-\\u000d\\u001c-\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const leading = new RegExp(`^${space}+`);
const trailing = new RegExp(`${space}+$`);

/** str.lstrip() */
export function stripLeft(text: string): string {
  return text.replace(leading, "");
}

/** str.rstrip() */
export function stripRight(text: string): string {
  return text.replace(trailing, "");
}

/** str.strip() */
export function strip(text: string): string {
  return stripRight(stripLeft(text));
}

/** str.capitalize(): the first letter up, all others down. */
export function capitalize(text: string): string {
  const [first = ""] = text;
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

/** len(): code points, not UTF-16 units. */
export function lengthOf(text: string): number {
  let length = 0;
  for (const _ of text) {
    length++;
  }
  return length;
}
