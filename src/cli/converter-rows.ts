// Options of bitnet.cpp's converters that mean nothing here, in every command that writes a model.

import { groupOf, noteIgnored, type Refusals, type RowValues } from "./option-rows.js";

const unneeded = "it is not needed here";

/** `ignored` of the group: said in a note. The others ask for what would be another file: refused. */
export const converterGroup = groupOf("Ignored", {
  useTempFile: { flags: "--use-temp-file", ignored: unneeded },
  padVocab: { flags: "--pad-vocab", ignored: unneeded },
  vocabType: { flags: "--vocab-type <type>", ignored: unneeded },
  bigEndian: { flags: "--bigendian", aliases: ["--big-endian"] },
  awqPath: { flags: "--awq-path <path>" },
});

type ConverterValues = RowValues<(typeof converterGroup)["rows"]>;

/** Why these options cannot be followed; undefined if they can. */
export function findRefused({ bigEndian, awqPath }: ConverterValues): string | undefined {
  if (bigEndian) {
    return "--bigendian: files are written little-endian only, as every published one is";
  }
  return awqPath === undefined ? undefined : "--awq-path: ternary weights have no use for the scales of AWQ";
}

export function noteConverterOptions(values: ConverterValues, say: (text: string) => void): void {
  noteIgnored(converterGroup, values, say);
}

/** What to do instead of options of bitnet.cpp's converters and of llama-quantize. */
export const converterRefusals: Refusals = {
  "--ctx": "the context that a model was trained for comes from its config.json",
  "--dump --dump-single": "bitnet inspect FILE shows what a file holds",
  "--no-vocab": "a model without its tokenizer cannot be run; --vocab-only writes the tokenizer alone",
  "--vocab-dir": "the tokenizer is read from the folder of the checkpoint",
  "--leave-output-tensor": "--output-tensor-type TYPE says how the head is written; by default as the embedding",
  "--imatrix --include-weights --exclude-weights": "ternary weights are exact without an importance matrix",
  "--keep-split --split-max-size --split-max-tensors": "one file is written, whatever its size",
  "--override-kv": "--model-name and --tokenizer-pre set what can be set; the rest is taken from the source",
  "--tensor-type --prune-layers": "--outtype, --embedding-type and --output-tensor-type say the types",
  "--remote": "bitnet convert OWNER/NAME downloads the checkpoint",
  "--print-supported-models": "docs/formats.md lists the families",
};
