// Guesses about natural language for IFEval, in the place of langdetect and nltk: which language a text has, how many
// sentences and which words. They decide nearly always the same; where they do not, a result says that it is approximate.

import { SPACE, splitAtSpace, strip } from "../python-text.js";

/** Scripts by the language that uses them; those with several languages are told apart by words or letters. */
const SCRIPTS: readonly { script: RegExp; languages: readonly string[] }[] = [
  { script: /\p{Script=Latin}/gu, languages: ["en", "es", "pt", "fr", "de", "it", "pl", "fi", "sw", "vi"] },
  { script: /\p{Script=Cyrillic}/gu, languages: ["ru", "uk", "bg"] },
  { script: /\p{Script=Arabic}/gu, languages: ["ar", "fa", "ur"] },
  { script: /\p{Script=Devanagari}/gu, languages: ["hi", "mr", "ne"] },
  { script: /[\p{Script=Hiragana}\p{Script=Katakana}]/gu, languages: ["ja"] },
  { script: /\p{Script=Hangul}/gu, languages: ["ko"] },
  { script: /\p{Script=Han}/gu, languages: ["zh"] },
  { script: /\p{Script=Thai}/gu, languages: ["th"] },
  { script: /\p{Script=Hebrew}/gu, languages: ["he"] },
  { script: /\p{Script=Greek}/gu, languages: ["el"] },
  { script: /\p{Script=Bengali}/gu, languages: ["bn"] },
  { script: /\p{Script=Tamil}/gu, languages: ["ta"] },
  { script: /\p{Script=Telugu}/gu, languages: ["te"] },
  { script: /\p{Script=Kannada}/gu, languages: ["kn"] },
  { script: /\p{Script=Gujarati}/gu, languages: ["gu"] },
  { script: /\p{Script=Gurmukhi}/gu, languages: ["pa"] },
  { script: /\p{Script=Malayalam}/gu, languages: ["ml"] },
];

/** Frequent short words, one point each, and letters that the neighbours lack, which weigh like words. */
const MARKS: Readonly<Record<string, { words: string; letters?: RegExp }>> = {
  en: {
    words:
      "the of and to in is that it for was with as are this be on not you have from they we i my he she but a an at by there",
  },
  es: {
    words: "el la los las de y en que un una por con para es no se del al lo su como más pero",
    letters: /[ñ¿¡]/gu,
  },
  pt: {
    words: "o a os as de e em que um uma por com para é não se do da no na dos das ao mais mas",
    letters: /[ãõ]/gu,
  },
  fr: {
    words: "le la les de et en que un une des du est pour dans pas ce qui sur au il je ne vous",
    letters: /[œêûëè]/gu,
  },
  de: {
    words: "der die das und in den von zu ist mit ein eine nicht auf für dem des im sich es ich auch",
    letters: /ß/gu,
  },
  it: { words: "il la le di e in che un una per con è non si del della dei sono anche gli lo al più ma" },
  pl: { words: "i w na z do nie się to że jest o jak za po od dla są ale przez", letters: /[łęąśżźćń]/gu },
  fi: {
    words: "ja on ei se että hän oli mutta niin myös kun ovat joka ole minä tämä",
    letters: /(?:ää|öö|yy|ii|kk|uu)/gu,
  },
  sw: { words: "na ya wa ni kwa za katika la kuwa hii yake kama pia hiyo au cha watu sana" },
  vi: {
    words: "và của là có trong cho không một được người với các này để những",
    letters: /[ạảấầẩẫậắằẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựơưđ]/gu,
  },
  ru: { words: "и в не на что с он как это по но из у за от так все", letters: /[ыэё]/gu },
  uk: { words: "і в не на що з та як це до але із у за від так", letters: /[іїєґ]/gu },
  bg: { words: "и в не на че с е да се от за по но със като са", letters: /(?:ът|ят|ъ)/gu },
  ar: { words: "في من على أن إلى هذا التي هو مع كان", letters: /[ةىي]/gu },
  fa: { words: "و در به از که این را با است برای", letters: /[پچژگی]/gu },
  ur: { words: "کے میں کی ہے سے کو کا اور یہ پر", letters: /[ٹڈڑںےہھ]/gu },
  hi: { words: "है में की के और को से का यह हैं नहीं एक" },
  mr: { words: "आहे आणि या मध्ये ते नाही हे व आहेत एक", letters: /ळ/gu },
  ne: { words: "छ र मा को छन् यो भने हो लागि हुन्छ एक" },
};

/** The language of most letters of a text by its code of ISO 639-1; undefined if there are none. */
export function detectLanguage(text: string): string | undefined {
  const counted = SCRIPTS.map(({ script, languages }) => ({ languages, letters: text.match(script)?.length ?? 0 }));
  const best = counted.reduce((a, b) => (b.letters > a.letters ? b : a));
  if (best.letters === 0) {
    return undefined;
  }
  const has = (language: string) => counted.some(({ languages, letters }) => letters > 0 && languages[0] === language);
  // Japanese has more Chinese characters than its own; Chinese has none of those.
  return best.languages[0] === "zh" && has("ja") ? "ja" : likeliest(best.languages, text.toLowerCase());
}

function likeliest(languages: readonly string[], text: string): string | undefined {
  const words = text.match(/[\p{L}\p{M}]+/gu) ?? [];
  const points = (language: string) => {
    const marks = MARKS[language];
    const frequent = new Set(marks?.words.split(" "));
    const letters = marks?.letters === undefined ? 0 : (text.match(marks.letters)?.length ?? 0);
    return words.filter((word) => frequent.has(word)).length + letters;
  };
  const [first, ...others] = languages.map((language) => ({ language, points: points(language) }));
  return others.reduce((best, next) => (best !== undefined && next.points > best.points ? next : best), first)
    ?.language;
}

/** After these a period is part of the word. */
const ABBREVIATIONS = new Set(
  "mr mrs ms dr prof st jr sr inc ltd co corp vs etc e.g i.e cf vol pp sgt capt lt rev hon jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m".split(
    " ",
  ),
);

/** Sentences end with a mark before white space, unless the word is an abbreviation or the next begins small. */
export function countSentences(text: string): number {
  const words = splitAtSpace(strip(text));
  return words.filter((word, i) => i === words.length - 1 || endsSentence(word, words[i + 1] ?? "")).length;
}

function endsSentence(word: string, next: string): boolean {
  const [, body, marks] = /^(.*?)([.!?]+)["')\]}\u2019\u201d*]*$/su.exec(word) ?? [];
  if (body === undefined || marks === undefined) {
    return false;
  }
  if (/[!?]/.test(marks)) {
    return true;
  }
  const bare = body.replace(/^["'([{\u2018\u201c*]+/, "").toLowerCase();
  const isShort = ABBREVIATIONS.has(bare) || /^\p{L}$/u.test(bare);
  return !isShort && !/^\p{Lowercase}/u.test(next);
}

/** Words as the Penn Treebank cuts them: marks stand alone, and so do the ends of contractions. */
export function splitWords(text: string): string[] {
  const apart = text
    .replace(/[[\](){}<>;@#$%&!?"\u201c\u201d]|\.\.+|--+/gu, " $& ")
    .replace(/[,:](?!\p{Nd})/gu, " $& ")
    .replace(new RegExp(`(?<=[^${SPACE}.])\\.(?=["')\\]}]*[${SPACE}]*$)`), " . ")
    .replace(/n't\b|'(?:s|m|d|ll|re|ve)\b/giu, " $&");
  return splitAtSpace(apart).filter((word) => word !== "");
}
