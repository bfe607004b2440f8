// What `bitnet inspect` shows of an adapter.

import type { AdapterFile } from "../adapter/adapter.js";
import { adapterName } from "../adapter/peft.js";
import type { InspectView } from "./inspect-report.js";
import { formatBytes, oneLine } from "./terminal/format.js";
import { formatTable } from "./terminal/table.js";

export function formatAdapter(adapter: AdapterFile, view: InspectView = {}): string {
  const { tensors = false, width, heading = (text) => text } = view;
  const { path, form, architecture, origin, matrices, parameters, bytes } = adapter;
  const unique = (values: readonly (string | number)[]) => [...new Set(values)].join(", ");
  const round = (value: number) => Number(value.toPrecision(6));
  const layers = [...new Set(matrices.map(({ layer }) => layer))];
  const rows: [string, string | undefined][] = [
    ["file", path],
    ["form", form === "gguf" ? "GGUF of llama.cpp" : "PEFT"],
    ["size", formatBytes(bytes)],
    ["architecture", architecture],
    ["base", origin.baseName],
    ["base hash", origin.baseHash],
    ["rank", unique(matrices.map(({ rank }) => rank))],
    ["alpha", unique(matrices.map(({ alpha }) => alpha))],
    ["scale", `${unique(matrices.map(({ scale }) => round(scale)))}${origin.rslora ? " (rsLoRA)" : ""}`],
    ["layers", layers.length === 1 ? String(layers[0]) : `${layers.length}, ${layers[0]} to ${layers.at(-1)}`],
    ["matrices", `${matrices.length}: ${unique(matrices.map(({ name }) => name))}`],
    ["parameters", `${(parameters / 1e6).toFixed(parameters < 1e6 ? 4 : 2)} M`],
    ["type", unique(matrices.flatMap(({ a, b }) => [a.type, b.type]))],
  ];
  const summary = rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, oneLine(value)]]));
  const list = matrices.map(({ layer, name, rank, scale, a, b }) => [
    `blk.${layer}.${name}`,
    `${b.rows} x ${a.cols}`,
    String(rank),
    String(round(scale)),
  ]);
  const columns = [{ header: "MATRIX", firm: true }, { header: "SHAPE" }, { header: "RANK", numeric: true }];
  return `${[
    heading(oneLine(`adapter ${adapterName(path)}`)),
    ...formatTable({ columns: [{ firm: true }, {}], rows: summary, indent: "  ", width }),
    "",
    ...(tensors
      ? formatTable({ columns: [...columns, { header: "SCALE", numeric: true }], rows: list, indent: "  ", width })
      : [`${matrices.length} matrices: --tensors lists them`]),
  ].join("\n")}\n`;
}
