// Writes native/tokenizer/unicode_tables.inc: the character classes that the pre-tokenizers tell apart, from the Unicode
// data of the Node that runs it. Usage: node scripts/make-unicode-tables.mjs
import { writeFileSync } from "node:fs";

// Bits as in native/tokenizer/unicode.h.
const classes = [
  [1, /^\p{L}$/u],
  [2, /^\p{N}$/u],
  [4, /^\p{P}$/u],
  [8, /^\p{White_Space}$/u],
];

const classOf = (code) => {
  if (code >= 0xd800 && code < 0xe000) {
    return 0; // surrogates are not characters
  }
  const char = String.fromCodePoint(code);
  return classes.reduce((bits, [bit, regex]) => (regex.test(char) ? bits | bit : bits), 0);
};

const runs = [];
let previous = -1;
for (let code = 0; code <= 0x10ffff; code++) {
  const bits = classOf(code);
  if (bits !== previous) {
    runs.push(`0x${code.toString(16)}${bits.toString(16).padStart(2, "0")}`);
  }
  previous = bits;
}

const lines = [];
for (let i = 0; i < runs.length; i += 10) {
  lines.push(`${runs.slice(i, i + 10).join(", ")},`);
}
writeFileSync(
  new URL("../native/tokenizer/unicode_tables.inc", import.meta.url),
  `// Written by scripts/make-unicode-tables.mjs; Unicode ${process.versions.unicode}. Runs of code points of one class:\n` +
    `// first code point << 8 | class bits. A run ends where the next begins.\n${lines.join("\n")}\n`,
);
