// bitnet tokenize: text to ids and back, with a file's own vocabulary.

import type { Command } from "commander";
import { openTokenizer, type Tokenizer } from "../../engine/tokenizer.js";
import { countOf } from "../../system/counts.js";
import { locateModel } from "../model-argument.js";
import { addOptions, groupOf } from "../option-rows.js";
import { modelRows, outputRows, readModel, withHelp } from "../options.js";
import { parseIds } from "../parsers.js";
import { noteOwnBos, readStdinBytes } from "../prompt.js";
import { wrapWords } from "../terminal/format.js";
import { colorsOf, columnsOf, interruptSignal, note, write, writeJson, writeText } from "../terminal/output.js";
import { type Column, formatTable } from "../terminal/table.js";

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
  output: groupOf("Output", {
    json: withHelp(outputRows.json, "print the ids as a JSON array, as where stdout is no terminal"),
  }),
};

export default function configureTokenize(command: Command): void {
  const read = addOptions(command, groups);
  command
    .usage("[options] [[model] text]")
    .argument(
      "[words...]",
      "the text, or with --decode the ids; without it stdin is read to its end; before it the model",
    )
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet tokenize -m model.gguf "Once upon a time"
  $ bitnet tokenize 2b "Once upon a time"
  $ bitnet tokenize -m model.gguf < story.txt
  $ bitnet tokenize -m model.gguf --decode "[772, 724, 258, 471]"`,
    )
    .action(async (words: string[]) => {
      const options = read();
      const isNamed = options.model.path === undefined && words.length > 1;
      const [text, ...more] = isNamed ? words.slice(1) : words;
      if (more.length > 0) {
        command.error("expected at most a model and a text; quote a text of several words", { exitCode: 2 });
      }
      const { path, load } = readModel({
        ...options.model,
        path: await locateModel(isNamed ? words[0] : options.model.path),
      });
      const { decode, addSpecial, parseSpecial } = options.text;
      const tokenizer = openTokenizer(path, load);
      for (const text of tokenizer.info.warnings) {
        note(text);
      }
      const input = text ?? (await readStdinBytes(interruptSignal()));
      if (decode) {
        writeText(`${tokenizer.decode(parseIds(input.toString()), { special: true })}\n`);
      } else {
        if (parseSpecial && addSpecial) {
          noteOwnBos(tokenizer, input, note);
        }
        const ids = [...tokenizer.encode(input, { addSpecial, parseSpecial })];
        const columns = columnsOf(process.stdout);
        if (options.output.json || columns === undefined) {
          writeJson(ids);
        } else {
          write(formatTokens(ids, tokenizer, columns));
        }
      }
    });
}

/** A line for each token, and all ids as --decode takes them. */
function formatTokens(ids: readonly number[], tokenizer: Tokenizer, width: number): string {
  const { bold, dim } = colorsOf(process.stdout);
  const columns: Column[] = [{ header: "ID", numeric: true }, { header: "TOKEN" }];
  const rows = ids.map((id) => [String(id), JSON.stringify(tokenizer.piece(id, { special: true }))]);
  const table = formatTable({ columns, rows, width, headerStyle: bold });
  const all = wrapWords(`[${ids.join(", ")}]`, width);
  const count = dim(countOf(ids.length, "token"));
  return `${[...table, "", ...all, count].join("\n")}\n`;
}
