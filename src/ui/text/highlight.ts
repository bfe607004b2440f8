// Code in colours, in the languages that are asked for most.

import highlighter from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import cpp from "highlight.js/lib/languages/cpp";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import xml from "highlight.js/lib/languages/xml";

for (const [name, language] of Object.entries({ bash, cpp, javascript, json, python, xml })) {
  highlighter.registerLanguage(name, language);
}
highlighter.registerAliases(["ts", "typescript", "tsx"], { languageName: "javascript" });
highlighter.registerAliases(["c", "java", "rust", "go"], { languageName: "cpp" });
highlighter.registerAliases(["shell", "console"], { languageName: "bash" });

/** Longer code stays plain: colouring would hold up the page. In characters. */
const longest = 50_000;

/** HTML of code in colours; undefined where the language is not known. */
export function highlight(code: string, language: string): string | undefined {
  return code.length <= longest && highlighter.getLanguage(language)
    ? highlighter.highlight(code, { language, ignoreIllegals: true }).value
    : undefined;
}
