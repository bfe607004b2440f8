import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { followsInstruction, followsLoosely, instructionIds } from "../../src/eval/tasks/ifeval.js";
import { countSentences, detectLanguage, splitWords } from "../../src/eval/tasks/ifeval-language.js";

const golden = JSON.parse(readFileSync("test/fixtures/eval/extraction.json", "utf8"));

test.each(golden.ifeval as [string, Record<string, unknown>, string, boolean][])(
  "%s with %j: %j follows it: %j",
  (id, given, answer, follows) => {
    expect(followsInstruction(id, given, answer)).toBe(follows);
  },
);

test("there are the 25 instructions of the data set", () => {
  expect([...instructionIds].sort()).toEqual(golden.ifeval_ids);
});

// Beyond the golden answers, which have one side of many checks only.
test.each<[string, Record<string, unknown>, string, boolean]>([
  [
    "change_case:capital_word_frequency",
    { capital_frequency: 3, capital_relation: "at least" },
    "A USA/UK, DON'T",
    true,
  ],
  ["change_case:capital_word_frequency", { capital_frequency: 3, capital_relation: "less than" }, "A B (c) D", false],
  ["change_case:english_capital", {}, "UPPER, then lower", false],
  ["change_case:english_lowercase", {}, "der hund und die katze sind im haus", false],
  ["combination:repeat_prompt", { prompt_to_repeat: "Say it" }, "I say it", false],
  ["combination:two_responses", {}, "one\n******\n\n******\ntwo", false],
  ["combination:two_responses", {}, "one\n******\none", false],
  ["detectable_content:number_placeholders", { num_placeholders: 2 }, "[name] and [pla\nce]", false],
  ["detectable_content:postscript", { postscript_marker: "P.P.S" }, "text\np. p. s more", true],
  ["detectable_content:postscript", { postscript_marker: "P.S." }, "text\nPS more", false],
  ["detectable_format:constrained_response", {}, "my answer is yes.", false],
  ["detectable_format:json_format", {}, '```\n{"a": [NaN, -Infinity, "NaN"]}\n```', true],
  [
    "detectable_format:multiple_sections",
    { section_spliter: "SECTION", num_sections: 2 },
    "SECTION 1 SECTION x",
    false,
  ],
  ["detectable_format:number_bullet_lists", { num_bullets: 1 }, "text\n  * a\n**bold**", true],
  ["detectable_format:number_highlighted_sections", { num_highlights: 1 }, "** ** and **", false],
  ["detectable_format:title", {}, "<< >>", false],
  ["keywords:existence", { keywords: ["a.b(c"] }, "a-b(c", true],
  ["keywords:forbidden_words", { forbidden_words: ["fé"] }, "café", true],
  ["keywords:frequency", { keyword: "fig", frequency: 3, relation: "less than" }, "fig Figs FIG", false],
  ["keywords:letter_frequency", { letter: "E", let_frequency: 3, let_relation: "less than" }, "eE", true],
  ["language:response_language", { language: "de" }, "Der Hund ist nicht im Haus.", true],
  ["language:response_language", { language: "de" }, "The dog is not in the house.", false],
  ["language:response_language", { language: "de" }, "12 + 3", true],
  [
    "length_constraints:nth_paragraph_first_word",
    { num_paragraphs: 2, nth_paragraph: 2, first_word: "So" },
    'a\n\n"so, b',
    true,
  ],
  [
    "length_constraints:nth_paragraph_first_word",
    { num_paragraphs: 2, nth_paragraph: 2, first_word: "so" },
    "a\n\nsome",
    false,
  ],
  [
    "length_constraints:nth_paragraph_first_word",
    { num_paragraphs: 1, nth_paragraph: 1, first_word: "a" },
    "a\n\nb",
    false,
  ],
  ["length_constraints:number_paragraphs", { num_paragraphs: 2 }, "***\na\n***\nb\n***", true],
  ["length_constraints:number_paragraphs", { num_paragraphs: 2 }, "a\n***\n***\nb", false],
  ["length_constraints:number_sentences", { num_sentences: 2, relation: "at least" }, "Dr. No left. He ran!", true],
  ["length_constraints:number_sentences", { num_sentences: 3, relation: "at least" }, "Dr. No left. He ran!", false],
  ["length_constraints:number_words", { num_words: 4, relation: "less than" }, "one two-three four", false],
  ["startend:end_checker", { end_phrase: "the end." }, 'It is "THE END."', true],
  ["startend:end_checker", { end_phrase: "the end." }, "the end. No.", false],
  ["startend:quotation", {}, '"', false],
  ["punctuation:no_comma", {}, " \n ", false],
])("%s with %j: %j follows it: %j", (id, given, answer, follows) => {
  expect(followsInstruction(id, given, answer)).toBe(follows);
});

test("a loose check also looks at the answer without first and last line and without asterisks", () => {
  const end = { end_phrase: "Done." };
  expect(followsInstruction("startend:end_checker", end, "**Done.**")).toBe(false);
  expect(followsLoosely("startend:end_checker", end, "**Done.**")).toBe(true);
  expect(followsLoosely("startend:end_checker", end, "Sure!\nDone.\nAnything else?")).toBe(true);
  expect(followsLoosely("startend:end_checker", end, "Done.\nA\nB")).toBe(false);
  expect(followsLoosely("punctuation:no_comma", {}, "Sure, here:\n\nplain")).toBe(true);
  expect(followsLoosely("punctuation:no_comma", {}, "a, b")).toBe(false);
});

test("what is wrong in a row is named", () => {
  expect(() => followsInstruction("keywords:rhymes", {}, "a")).toThrow('"keywords:rhymes", which is no instruction');
  expect(() => followsInstruction("keywords:frequency", { keyword: "a", frequency: null }, "a")).toThrow(
    "keywords:frequency: expected frequency to be a number, not null",
  );
  expect(() => followsInstruction("constructor", {}, "a")).toThrow("no instruction");
});

test.each([
  ["en", "Once upon a time there was a small fox."],
  ["es", "El perro de la casa no es más grande que el gato."],
  ["pt", "O cão não está em casa, mas a menina foi ao mercado."],
  ["fr", "Le chien est dans la maison et il ne dort pas."],
  ["it", "Il cane è nella casa e non dorme."],
  ["pl", "Pies jest w domu i nie śpi."],
  ["fi", "Koira on talossa ja se ei nuku."],
  ["sw", "Mbwa yuko katika nyumba na paka ni wa mtoto."],
  ["vi", "Con chó ở trong nhà và không ngủ được."],
  ["ru", "Собака в доме, и это была не она."],
  ["uk", "Собака в хаті і не спить, її люблять."],
  ["bg", "Кучето е в къщата и не спи."],
  ["ar", "الكلب في البيت على الأرض."],
  ["fa", "سگ در خانه است و نمی‌خوابد."],
  ["ur", "کتا گھر میں ہے اور سوتا نہیں۔"],
  ["hi", "कुत्ता घर में है और नहीं सोता।"],
  ["mr", "कुत्रा घरात आहे आणि झोपत नाही."],
  ["ne", "कुकुर घरमा छ र सुत्दैन।"],
  ["ja", "犬は家にいて、寝ていません。"],
  ["ko", "개는 집에 있다."],
  ["th", "สุนัขอยู่ในบ้าน"],
  ["he", "הכלב בבית."],
  ["bn", "কুকুর বাড়িতে আছে।"],
  ["ta", "நாய் வீட்டில் உள்ளது."],
  ["te", "కుక్క ఇంట్లో ఉంది."],
  ["kn", "ನಾಯಿ ಮನೆಯಲ್ಲಿದೆ."],
  ["gu", "કૂતરો ઘરમાં છે."],
  ["pa", "ਕੁੱਤਾ ਘਰ ਵਿੱਚ ਹੈ।"],
  ["ml", "നായ വീട്ടിലാണ്."],
])("the language %s is told from the others", (language, text) => {
  expect(detectLanguage(text)).toBe(language);
});

test("sentences are counted past abbreviations, initials and numbers", () => {
  expect(countSentences("It cost 3.50 in the U.S. market. Mr. J. Fox paid, e.g. by card! Did he? Yes")).toBe(4);
  expect(countSentences('He said "No." Then he left...')).toBe(2);
});

test("words end before marks and contractions", () => {
  expect(splitWords("DON'T go (NOW), it's 1,000 U.S. fields...")).toEqual([
    "DO",
    "N'T",
    "go",
    "(",
    "NOW",
    ")",
    ",",
    "it",
    "'s",
    "1,000",
    "U.S.",
    "fields",
    "...",
  ]);
});
