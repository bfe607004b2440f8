// What `bitnet inspect` shows: a summary, the types, the metadata, and the tensors where they are asked for.

import type { EmbeddingReport } from "../gguf/embedding.js";
import type { InspectReport } from "../gguf/inspect.js";
import { countOf } from "../system/counts.js";
import { formatBytes, oneLine } from "./terminal/format.js";
import { formatTable } from "./terminal/table.js";
import { cutLine, displayWidth, padToWidth, shorten } from "./terminal/width.js";

export interface InspectView {
  /** Also a line for each tensor. */
  tensors?: boolean;
  /** Columns of the terminal; undefined: lines of any length. */
  width?: number;
  /** Makes a heading stand out. */
  heading?: (text: string) => string;
}

const indent = "  ";
const leastValue = 18; // columns
const longestText = 200; // of a value in the metadata, before it is fitted to the terminal

export function formatInspection(model: string, report: InspectReport, view: InspectView = {}): string {
  const { tensors = false, width, heading = (text) => text } = view;
  const { name, metadata, types } = report;
  const rows = (cells: string[][]) => formatTable({ columns: [{ firm: true }, {}], rows: cells, indent: "  ", width });
  const sizes = types.map((type) => [type.type, countOf(type.tensors, "tensor"), formatBytes(type.bytes)]);
  const lines = [
    heading(oneLine(name || "(no name)")),
    ...rows(listSummary(model, report)),
    "",
    heading("types"),
    ...formatTable({
      columns: [{}, { numeric: true }, { numeric: true }],
      rows: sizes,
      indent: "  ",
      width,
    }),
    "",
    heading("metadata"),
    ...listMetadata(metadata, width),
    "",
    ...(tensors
      ? [heading("tensors"), ...listTensors(report, width)]
      : [`${countOf(report.tensors.length, "tensor")}: --tensors lists them`]),
  ];
  return `${lines.join("\n")}\n`;
}

function listSummary(model: string, report: InspectReport): string[][] {
  const { version, fileSize, split, architecture, weights, parameters, metadata, memory, embedding } = report;
  const parts =
    split && (split.part === undefined ? ` in ${split.parts} parts` : `, part ${split.part} of ${split.parts}`);
  const number = (key: string) => {
    const value = metadata[`${architecture}.${key}`];
    return typeof value === "number" ? value : undefined;
  };
  const [layers, width, context] = [number("block_count"), number("embedding_length"), number("context_length")];
  const tokens = metadata["tokenizer.ggml.tokens"];
  const rows: [string, string | undefined][] = [
    ["file", model],
    ["size", `${formatBytes(fileSize)}${parts ?? ""}, GGUF version ${version}`],
    ["architecture", architecture || "(none)"],
    ["weights", weights && formatWeights(weights)],
    ["parameters", `${formatCount(parameters)} (${parameters})`],
    ["layers", layers === undefined ? undefined : `${layers}${width === undefined ? "" : ` of width ${width}`}`],
    ["context", context === undefined ? undefined : countOf(context, "token")],
    ["vocabulary", typeof tokens === "object" ? countOf(tokens.length, "token") : undefined],
    ["chat template", metadata["tokenizer.chat_template"] === undefined ? "none" : "in the file"],
    ["embeddings", embedding && `of ${embedding.dimensions} numbers, pooling ${embedding.pooling}`],
    ["prompts", embedding && listPrompts(embedding)],
    ["memory", memory && `about ${formatBytes(memory.total)} with a context of ${memory.contextSize}`],
    ["", memory && `${formatBytes(memory.weights)} weights, ${formatBytes(memory.kvCache)} keys and values`],
  ];
  return rows.flatMap(([label, text]) => (text === undefined ? [] : [[label, text]]));
}

/** Floats of a ternary family are a master, or what an adapter was merged into. */
function formatWeights({ ternary, floats }: NonNullable<InspectReport["weights"]>): string {
  const parts = [
    ...(ternary.length > 0 ? [`ternary (${ternary.join(", ")})`] : []),
    ...(floats.length > 0 ? [`floats (${floats.join(", ")})`] : []),
  ];
  return parts.join(" and ");
}

/** Their names, the default one marked. */
function listPrompts({ prompts, defaultPrompt }: EmbeddingReport): string | undefined {
  const names = Object.keys(prompts).map((name) => oneLine(name === defaultPrompt ? `${name} (default)` : name));
  return names.length === 0 ? undefined : names.join(", ");
}

/** Keys as they are, and beside them their values; below those that leave no room for one. */
function listMetadata(metadata: InspectReport["metadata"], width = Number.POSITIVE_INFINITY): string[] {
  const rows = Object.entries(metadata).map(([key, value]) => [oneLine(key), oneLine(formatValue(value))] as const);
  const mostKey = width - indent.length - 2 - leastValue;
  const fitting = rows.map(([key]) => displayWidth(key)).filter((wide) => wide <= mostKey);
  const column = Math.max(0, ...fitting);
  return rows.flatMap(([key, value]) => {
    const room = Math.max(leastValue, width - indent.length - column - 2);
    const shown = Number.isFinite(room) ? cutLine(value, room) : value;
    return displayWidth(key) <= column
      ? [`${indent}${padToWidth(key, column)}  ${shown}`]
      : [
          indent + (Number.isFinite(width) ? shorten(key, width - indent.length) : key),
          `${indent}${" ".repeat(column)}  ${shown}`,
        ];
  });
}

function listTensors({ tensors }: InspectReport, width: number | undefined): string[] {
  return formatTable({
    columns: [{}, {}, { optional: true }, { numeric: true }],
    rows: tensors.map(({ name, type, shape, bytes }) => [name, type, `[${shape.join(", ")}]`, formatBytes(bytes)]),
    indent: "  ",
    width,
  });
}

function formatValue(value: InspectReport["metadata"][string]): string {
  if (typeof value === "object") {
    return `${value.arrayOf} [${value.length}]`;
  }
  const text =
    typeof value === "string" ? JSON.stringify(value) : typeof value === "number" ? formatNumber(value) : String(value);
  return text.length > longestText ? `${text.slice(0, longestText)}... (${text.length} characters)` : text;
}

/** Numbers of GGUF files are float32: 0.00001 rather than 0.000009999999747378752. */
function formatNumber(value: number): string {
  if (Number.isInteger(value)) {
    return String(value);
  }
  const digits = Array.from({ length: 9 }, (_, i) => Number(value.toPrecision(i + 1)));
  return String(digits.find((short) => Math.fround(short) === value) ?? value);
}

export function formatCount(parameters: number): string {
  return parameters >= 1e9 ? `${(parameters / 1e9).toFixed(2)} B` : `${(parameters / 1e6).toFixed(2)} M`;
}
