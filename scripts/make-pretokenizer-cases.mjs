// Writes random texts and how each pre-tokenizer must split them, by the models' own regular expressions in JavaScript:
// an implementation independent of native/tokenizer/pre_tokenizer.cpp, whose test reads the result.
// Usage: node scripts/make-pretokenizer-cases.mjs [file] [cases] [seed]
//
// One line per case: the text as hex of its UTF-8, then per pre-tokenizer (in the order of the first line) the sizes of
// its pieces in bytes, one base-36 digit each.
import { writeFileSync } from "node:fs";

const gpt2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`;
const llama3 = (numbers) =>
  String.raw`(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|${numbers}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const preTokenizers = {
  "llama-bpe": [llama3(String.raw`\p{N}{1,3}`)],
  qwen2: [llama3(String.raw`\p{N}`)],
  "gpt-2": [gpt2],
  falcon: [String.raw`[\p{P}\$\+<=>\^~\|${"`"}]+`, gpt2, "[0-9][0-9][0-9]"],
  falcon3: [String.raw`[\p{P}\$\+<=>\^~\|${"`"}]+`, gpt2, "[0-9]"],
  default: [String.raw`[\p{P}\$\+<=>\^~\|]+`, gpt2, String.raw`\p{N}+`, "[0-9][0-9][0-9]"],
};

// JavaScript's \s is not Unicode's White_Space: it has U+FEFF and lacks U+0085.
const compile = (source) =>
  new RegExp(source.replaceAll("\\s", "\\p{White_Space}").replaceAll("\\S", "\\P{White_Space}"), "gu");
for (const name of Object.keys(preTokenizers)) {
  preTokenizers[name] = preTokenizers[name].map(compile);
}

/** The matches and the text between them. */
function split(text, regex) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(regex)) {
    pieces.push(text.slice(end, match.index), match[0]);
    end = match.index + match[0].length;
  }
  pieces.push(text.slice(end));
  return pieces.filter((piece) => piece !== "");
}

let state = Number(process.argv[4] ?? 158);
function random(n) {
  state = (state + 0x6d2b79f5) | 0; // mulberry32
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
}

const words = [..."aZéßñДжλ中文字のカ한א", "the", "Won", "s", "LL", "ǅ", "ʰ", "𝔘", "ª"];
const contractions = "'s 'S 't 're 'Re 'rE 'VE 've 'm 'll 'lL 'l 'r 'd 'D ' ’s ''".split(" ");
const numbers = [..."0123456789²½٣Ⅷ५𝟘〇", "12", "345", "6789"];
const marks = [
  ...'!?.,:;-_()[]{}@#%&*"/\\$+<=>^~|`«—、。¿§©€→×\u0301\u200d\ufeff\u200b😀',
  "👩‍🚀",
  ..."\0\u{10ffff}\ue000",
];
const spaces = [..."    \n\n\r", "\r\n", ..."\t\v\f\u0085\u00a0\u1680\u2003\u2028\u202f\u205f\u3000"];
const anything = () => {
  const code = random(2) ? random(0x3000) : random(0x110000);
  return code >= 0xd800 && code < 0xe000 ? "" : String.fromCodePoint(code);
};
const pools = [words, words, words, contractions, numbers, numbers, marks, marks, spaces, spaces, spaces];

function randomText() {
  let text = "";
  const length = 1 + random(14);
  for (let i = 0; i < length; i++) {
    const pool = pools[random(pools.length + 1)];
    const part = pool ? pool[random(pool.length)] : anything();
    text += part.repeat(random(6) === 0 ? 1 + random(4) : 1);
    if (random(6) === 0) {
      text += " ";
    }
  }
  return text;
}

const bytes = (text) => Buffer.byteLength(text);
const names = Object.keys(preTokenizers);
const lines = [names.join(" ")];
while (lines.length <= Number(process.argv[3] ?? 1500)) {
  const text = randomText();
  if (text === "" || bytes(text) > 35) {
    continue;
  }
  const columns = names.map((name) => {
    const pieces = preTokenizers[name].reduce((parts, regex) => parts.flatMap((part) => split(part, regex)), [text]);
    return pieces.map((piece) => bytes(piece).toString(36)).join("");
  });
  lines.push([Buffer.from(text).toString("hex"), ...columns].join(" "));
}
writeFileSync(
  process.argv[2] ?? new URL("../test/fixtures/pretokenizer-cases.txt", import.meta.url),
  `${lines.join("\n")}\n`,
);
