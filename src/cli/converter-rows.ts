// Options of bitnet.cpp's converters that mean nothing here, in every command that writes a model.

import { groupOf, noteIgnored, type RowValues } from "./option-rows.js";

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
