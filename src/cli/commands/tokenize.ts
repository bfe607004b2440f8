// bitnet tokenize: text to ids and back, with a file's own vocabulary.

import { buffer } from "node:stream/consumers";
import type { Command } from "commander";
import { openTokenizer } from "../../engine/tokenizer.js";
import { addOptions, groupOf } from "../option-rows.js";
import { modelRows, readModel, withHelp } from "../options.js";
import { parseIds } from "../parsers.js";
import { note, write, writeJson } from "../terminal/output.js";

const groups = {
  model: groupOf("Model", {
    path: withHelp(modelRows.path, "GGUF file, also of a vocabulary only (default: the bundled demonstration model)"),
    tokenizerPre: modelRows.tokenizerPre,
  }),
  text: groupOf("Text", {
    addSpecial: {
      flags: "--no-special",
      help: "do not add the tokens that the model wants around a text (BOS, EOS)",
    },
    parseSpecial: { flags: "--parse-special", help: "read the names of control tokens as those tokens" },
    decode: {
      flags: "--decode",
      help: "turn ids (a JSON array, or separated by commas or spaces) into text, control tokens by name",
    },
  }),
};

export default function configureTokenize(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[text]", "the text, or with --decode the ids; without it stdin is read to its end, as it is")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet tokenize -m model.gguf "Once upon a time"
  $ bitnet tokenize -m model.gguf < story.txt
  $ bitnet tokenize -m model.gguf --decode "[772, 724, 258, 471]"`,
    )
    .action(async (text: string | undefined) => {
      const options = read();
      const { path, load } = readModel(options.model);
      const { decode, addSpecial, parseSpecial } = options.text;
      const tokenizer = openTokenizer(path, load);
      for (const text of tokenizer.info.warnings) {
        note(text);
      }
      const input = text ?? (await buffer(process.stdin));
      if (decode) {
        write(`${tokenizer.decode(parseIds(input.toString()), { special: true })}\n`);
      } else {
        writeJson([...tokenizer.encode(input, { addSpecial, parseSpecial })]);
      }
    });
}
