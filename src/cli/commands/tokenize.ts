// bitnet tokenize: text to ids and back, with a file's own vocabulary.

import { buffer } from "node:stream/consumers";
import type { Command } from "commander";
import { openTokenizer } from "../../engine/tokenizer.js";
import { bundledModel } from "../../models/bundled.js";
import { parseIds } from "../parsers.js";
import { write, writeJson } from "../terminal/output.js";

interface TokenizeOptions {
  model: string;
  special: boolean;
  parseSpecial?: boolean;
  decode?: boolean;
  tokenizerPre?: string;
}

export default function configureTokenize(command: Command): void {
  command
    .argument("[text]", "the text, or with --decode the ids; without it stdin is read to its end, as it is")
    .option("-m, --model <file>", "GGUF file; one with a vocabulary only will do", bundledModel.path)
    .option("--no-special", "do not add the tokens that the model wants around a text (BOS, EOS)")
    .option("--parse-special", "read the names of control tokens as those tokens")
    .option("--decode", "turn ids (a JSON array, or separated by commas or spaces) into text, control tokens by name")
    .option("--tokenizer-pre <name>", "pre-tokenizer to use instead of the file's")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet tokenize -m model.gguf "Once upon a time"
  $ bitnet tokenize -m model.gguf < story.txt
  $ bitnet tokenize -m model.gguf --decode "[772, 724, 258, 471]"`,
    )
    .action(async (text: string | undefined, options: TokenizeOptions) => {
      const tokenizer = openTokenizer(options.model, { tokenizerPre: options.tokenizerPre });
      const input = text ?? (await buffer(process.stdin));
      if (options.decode) {
        write(`${tokenizer.decode(parseIds(input.toString()), { special: true })}\n`);
      } else {
        const { special: addSpecial, parseSpecial } = options;
        writeJson([...tokenizer.encode(input, { addSpecial, parseSpecial })]);
      }
    });
}
