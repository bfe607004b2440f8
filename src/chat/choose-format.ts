// The chat format that --chat-template names: a built-in one, a file, or the model's own.

import { BitnetError } from "../system/errors.js";
import { readTextFile } from "../system/text-file.js";
import {
  builtinFormat,
  type ChatFormat,
  chatFormatNames,
  type FormatTokenizer,
  jinjaFormat,
  modelFormat,
} from "./format.js";

/** `choice` is a name of chatFormatNames or the path of a Jinja file; undefined: the model's own template, else "bitnet". */
export async function chooseFormat(
  model: { readonly info: { readonly chatTemplate: string | null }; readonly tokenizer: FormatTokenizer },
  choice: string | undefined,
): Promise<ChatFormat> {
  if (choice === undefined) {
    return modelFormat(model.info.chatTemplate, model.tokenizer);
  }
  if (chatFormatNames.includes(choice)) {
    return builtinFormat(choice, model.tokenizer);
  }
  let source: string;
  try {
    source = await readTextFile(choice);
  } catch (error) {
    if (error instanceof BitnetError) {
      throw error;
    }
    const { code } = error as NodeJS.ErrnoException;
    const what = code === "ENOENT" ? "is neither a chat format nor a file" : `cannot be read (${code})`;
    throw new BitnetError("NOT_FOUND", `--chat-template ${choice} ${what}`, {
      hint: `a Jinja file, or one of: ${chatFormatNames.join(", ")}`,
      cause: error,
    });
  }
  return jinjaFormat(source, choice, model.tokenizer);
}
