// Texts as Python's str methods see them.

/** What str.isspace() says yes to, for a class of characters; JavaScript's has U+FEFF, too, and lacks some of ASCII. */
export const SPACE = "\\x09-\\x0d\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const leading = new RegExp(`^[${SPACE}]+`);
const single = new RegExp(`^[${SPACE}]$`);

/** str.lstrip() */
export function stripLeft(text: string): string {
  return text.replace(leading, "");
}

/** str.rstrip(); no pattern, which would try every run of white space in the text. */
export function stripRight(text: string): string {
  let end = text.length;
  while (end > 0 && single.test(text.charAt(end - 1))) {
    end--;
  }
  return text.slice(0, end);
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

/** re.split(r"\s+", text): with an empty piece where the text begins or ends with white space. */
export function splitAtSpace(text: string): string[] {
  return text.split(new RegExp(`[${SPACE}]+`));
}

/** str.isupper(): cased characters, all of them upper case. */
export function isUpper(text: string): boolean {
  return /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text);
}

/** str.islower() */
export function isLower(text: string): boolean {
  return /\p{Lowercase}/u.test(text) && !/[\p{Uppercase}\p{Lt}]/u.test(text);
}

/** re.escape(): a pattern that matches `text` and nothing else. */
export function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
