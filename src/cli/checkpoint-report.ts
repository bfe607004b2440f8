// What `bitnet inspect` shows of the folder of a checkpoint.

import type { CheckpointReport } from "../checkpoint/inspect.js";
import type { WeightKind } from "../checkpoint/master.js";
import { countOf } from "../system/counts.js";
import { formatCount, type InspectView } from "./inspect-report.js";
import { formatBytes, oneLine } from "./terminal/format.js";
import { formatTable } from "./terminal/table.js";

const kinds: Record<WeightKind, string> = {
  master: "master: floats that ternary weights are made of",
  packed: "ternary, four to a byte",
  ternary: "ternary, as floats",
};

export function formatCheckpoint(report: CheckpointReport, view: InspectView = {}): string {
  const { tensors = false, width, heading = (text) => text } = view;
  const { path, architecture, modelClass, weights, parameters, bytes, quantization, contextLength } = report;
  const rows: [string, string | undefined][] = [
    ["folder", path],
    ["weights", kinds[weights]],
    ["size", formatBytes(bytes)],
    ["architecture", `${architecture} (${modelClass})`],
    ["parameters", `${formatCount(parameters)} (${parameters})`],
    ["layers", `${report.layers} of width ${report.hiddenSize}`],
    ["context", contextLength === undefined ? undefined : countOf(contextLength, "token")],
    ["vocabulary", countOf(report.vocabSize, "token")],
    ["quantization", quantization && `${quantization.linearClass}, ${quantization.mode}`],
  ];
  const summary = rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, oneLine(value)]]));
  const types = report.types.map((type) => [type.type, countOf(type.tensors, "tensor"), formatBytes(type.bytes)]);
  const list = report.tensors.map(({ name, type, shape, bytes: size }) => [
    ...[name, type, `[${shape.join(", ")}]`, formatBytes(size)],
  ]);
  const numeric = { numeric: true };
  return `${[
    heading(oneLine("checkpoint of Hugging Face")),
    ...formatTable({ columns: [{ firm: true }, {}], rows: summary, indent: "  ", width }),
    "",
    heading("types"),
    ...formatTable({ columns: [{}, numeric, numeric], rows: types, indent: "  ", width }),
    "",
    ...(tensors
      ? [
          heading("tensors"),
          ...formatTable({ columns: [{}, {}, { optional: true }, numeric], rows: list, indent: "  ", width }),
        ]
      : [`${countOf(report.tensors.length, "tensor")}: --tensors lists them`]),
  ].join("\n")}\n`;
}
