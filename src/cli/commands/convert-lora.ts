// bitnet convert-lora: an adapter of PEFT to a GGUF file, or a GGUF adapter to a folder of PEFT.

import { statSync } from "node:fs";
import type { Command } from "commander";
import { openAdapter } from "../../adapter/open.js";
import { type AdapterBase, convertAdapter } from "../../adapter/write.js";
import { readModelConfig } from "../../checkpoint/config.js";
import { chooseFamily } from "../../checkpoint/names.js";
import { openGguf } from "../../gguf/gguf.js";
import { BitnetError } from "../../system/errors.js";
import { locateAdapter } from "../adapter-argument.js";
import { locateModel } from "../model-argument.js";
import { addOptions, groupOf } from "../option-rows.js";
import { outputRows } from "../options.js";
import { note, writeJson } from "../terminal/output.js";

const groups = {
  base: groupOf("Base", {
    base: {
      flags: "--base <model>",
      help: "the model that it adapts: a GGUF file or a checkpoint's folder; a GGUF adapter of Llama needs it, too",
      aliases: ["-m", "--model", "--base-model-id"],
    },
  }),
  output: groupOf("Output", {
    outfile: {
      flags: "-o, --outfile <path>",
      help: "where to write (default: beside the source: NAME.gguf, or a folder NAME-peft)",
    },
    outtype: {
      flags: "--outtype <type>",
      help: "how numbers are written; bf16 for PEFT alone",
      choices: ["f32", "f16", "bf16"],
      standard: "f32",
    },
    json: outputRows.json,
  }),
};

export default function configureConvertLora(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("<adapter>", "a folder of PEFT, its .safetensors file, a GGUF adapter, or owner/name of the hub")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet convert-lora adapter/ --base model.gguf -o adapter.gguf
  $ bitnet convert-lora adapter.gguf -o adapter-of-gguf/`,
    )
    .action(async (named: string) => {
      const { base, output } = read();
      const source = await locateAdapter(named);
      const target = output.outfile ?? defaultTarget(source, (await openAdapter(source)).form);
      const dtype = output.outtype as "f32" | "f16" | "bf16";
      const form = await convertAdapter(source, target, { base: await readBase(base.base), dtype });
      const { parameters, matrices } = await openAdapter(target); // what was written is one
      if (output.json) {
        writeJson({ source, outfile: target, form, parameters, matrices: matrices.length });
      } else {
        note(`wrote ${target}: ${matrices.length} matrices, ${parameters} parameters, ${dtype.toUpperCase()}`);
      }
    });
}

function defaultTarget(source: string, form: "peft" | "gguf"): string {
  const bare = source.replace(/[/\\]+$/, "").replace(/\.(gguf|safetensors)$/i, "");
  return form === "peft" ? `${bare}.gguf` : `${bare}-peft`;
}

async function readBase(named: string | undefined): Promise<AdapterBase | undefined> {
  if (named === undefined) {
    return undefined;
  }
  if (statSync(named, { throwIfNoEntry: false })?.isDirectory()) {
    const config = await readModelConfig(named);
    return { architecture: chooseFamily(config).architecture, headDim: config.headDim };
  }
  const path = await locateModel(named);
  const metadata = openGguf(path).metadata();
  const architecture = String(metadata["general.architecture"]);
  const [heads, width] = ["attention.head_count", "embedding_length"].map((key) => metadata[`${architecture}.${key}`]);
  const length = metadata[`${architecture}.attention.key_length`] ?? Number(width) / Number(heads);
  if (typeof length !== "number" || !Number.isInteger(length)) {
    throw new BitnetError("BAD_FILE", `${path}: nothing says how long a head is`, {
      hint: "name the base model itself",
    });
  }
  return { architecture, headDim: length };
}
