// What training data is, for people: which tokens are learned, then numbers. Without colours, learned tokens stand between
// guillemets.

import type { ChalkInstance } from "chalk";
import { countOf } from "../system/counts.js";
import type { SourceReport } from "../train/data/load.js";
import type { DataReport, LengthQuantiles, Preview, PreviewPiece } from "../train/data/report.js";
import { withoutControls, wrapWords } from "./terminal/format.js";
import { type Column, formatTable } from "./terminal/table.js";
import { displayWidth, padToWidth, shorten } from "./terminal/width.js";

export interface ReportStyle {
  /** Columns of the terminal; undefined: lines of any length. */
  width?: number;
  /** Of the stream; level 0 marks learned tokens with characters. */
  colors: ChalkInstance;
}

/** Lines, without the end of the last one. */
export function formatDataReport(report: DataReport, style: ReportStyle): string {
  const sections = [
    ...(report.previews.length === 0 ? [] : [formatPreviews(report.previews, style)]),
    formatSources(report, style),
    formatFacts(report, style),
    ...formatWarnings(report, style),
  ];
  return sections.join("\n\n");
}

const indent = "  ";

function formatPreviews(previews: readonly Preview[], style: ReportStyle): string {
  const { colors } = style;
  const legend =
    colors.level > 0 ? `Tokens that are learned are ${colors.green("green")}.` : "Tokens that are learned stand «so».";
  return [legend, ...previews.map((preview) => `\n${formatPreview(preview, style)}`)].join("\n");
}

function formatPreview(
  { place, pieces, tokens, trainedTokens, hidden }: Preview,
  { width, colors }: ReportStyle,
): string {
  const numbers = `: ${countOf(tokens, "token")}, ${trainedTokens} learned`;
  const name = withoutControls(place);
  const title = (width === undefined ? name : shorten(name, width - numbers.length)) + numbers;
  const columns = width === undefined ? Number.POSITIVE_INFINITY : width - indent.length;
  const marked = colors.level > 0 ? pieces : pieces.map(markPiece);
  const lines = wrapPieces(marked, columns).map(
    (line) =>
      indent +
      line
        .map((run) => paint(run, colors))
        .join("")
        .trimEnd(),
  );
  const rest = hidden > 0 ? [`${indent}${colors.dim(`... and ${countOf(hidden, "token")} more`)}`] : [];
  return [colors.bold(title), ...lines, ...rest].join("\n");
}

function markPiece({ text, isTrained }: PreviewPiece): PreviewPiece {
  return { text: isTrained ? `«${text}»` : text, isTrained };
}

function paint({ text, isTrained }: PreviewPiece, colors: ChalkInstance): string {
  return isTrained && text !== "" ? colors.green(text) : text;
}

/** Lines of pieces, broken at the line breaks of the text and between words. */
function wrapPieces(pieces: readonly PreviewPiece[], columns: number): PreviewPiece[][] {
  const lines: PreviewPiece[][] = [[]];
  let used = 0;
  const addLine = () => {
    lines.push([]);
    used = 0;
  };
  for (const { text, isTrained } of pieces) {
    for (const word of withoutControls(text).split(/(?<=\n)|(?<= )(?=[^ \n])/)) {
      const shown = word.replaceAll("\n", "");
      if (used > 0 && used + displayWidth(shown.trimEnd()) > columns) {
        addLine();
      }
      addRun(lines.at(-1) ?? [], { text: shown, isTrained });
      used += displayWidth(shown);
      if (word.endsWith("\n")) {
        addLine();
      }
    }
  }
  return lines;
}

/** Neighbours of one kind are one stretch, which has one colour. */
function addRun(line: PreviewPiece[], run: PreviewPiece): void {
  const last = line.at(-1);
  if (last?.isTrained === run.isTrained) {
    last.text += run.text;
  } else {
    line.push({ ...run });
  }
}

function formatSources({ sources, evalSources }: DataReport, { width, colors }: ReportStyle): string {
  const all = [...sources, ...evalSources];
  const has = (of: (source: SourceReport) => number, usual: number) => all.some((source) => of(source) !== usual);
  const left = (header: string): Column => ({ header, numeric: true, optional: true }); // notes tell them, too
  const shown: { column: Column; cell: (source: SourceReport) => string | number; isShown: boolean }[] = [
    { column: { header: "data" }, cell: ({ name }) => name, isShown: true },
    { column: { header: "weight", numeric: true }, cell: ({ weight }) => weight, isShown: has((s) => s.weight, 1) },
    { column: { header: "examples", numeric: true }, cell: ({ examples }) => examples, isShown: true },
    { column: { header: "tokens", numeric: true }, cell: ({ tokens }) => tokens, isShown: true },
    { column: { header: "learned", numeric: true }, cell: ({ trainedTokens }) => trainedTokens, isShown: true },
    { column: left("cut"), cell: ({ cut }) => cut, isShown: has((s) => s.cut, 0) },
    { column: left("emptied"), cell: ({ emptied }) => emptied, isShown: has((s) => s.emptied, 0) },
    { column: left("skipped"), cell: ({ skipped }) => skipped, isShown: has((s) => s.skipped, 0) },
    { column: left("dropped"), cell: ({ dropped }) => dropped, isShown: has((s) => s.dropped, 0) },
  ];
  const used = shown.filter(({ isShown }) => isShown);
  const row = (source: SourceReport) => used.map(({ cell }) => String(cell(source)));
  return formatTable({
    columns: used.map(({ column }) => column),
    rows: all.map(row),
    width,
    headerStyle: (line) => colors.bold(line),
  }).join("\n");
}

function formatFacts(report: DataReport, { width }: ReportStyle): string {
  const { documents, tokens, trainedTokens, epoch, rowLength, evaluation, fill } = report;
  const facts: [string, string][] = [
    ["documents", `${documents}, ${formatLengths(report.lengths)}`],
    ["learned", `${trainedTokens} of ${countOf(tokens, "token")} (${percent(trainedTokens / tokens)})`],
    [
      "an epoch",
      `${countOf(epoch.tokens, "token")} in ${countOf(epoch.rows, "row")} of at most ${rowLength} (${percent(fill)} full, ` +
        `no padding), ${countOf(epoch.steps, "step")}`,
    ],
  ];
  if (evaluation.documents > 0) {
    facts.push([
      "evaluation",
      `${countOf(evaluation.documents, "document")} of ${countOf(evaluation.tokens, "token")}`,
    ]);
  }
  return facts.map(([name, text]) => formatFact(name, text, width)).join("\n");
}

const nameWidth = 12;

/** A name and what is told of it, within `width` columns. */
export function formatFact(name: string, text: string, width: number | undefined): string {
  const lines = width === undefined ? [text] : wrapWords(text, width - nameWidth);
  return padToWidth(name, nameWidth) + lines.join(`\n${" ".repeat(nameWidth)}`);
}

function formatLengths({ least, half, ninety, ninetyNine, most }: LengthQuantiles): string {
  return `${least} to ${most} tokens long; half up to ${half}, 90 % up to ${ninety}, 99 % up to ${ninetyNine}`;
}

/** What was left out, and why that may matter: a sentence each. */
export function listDataWarnings({
  sources,
  evalSources,
  duplicates,
}: Pick<DataReport, "sources" | "evalSources" | "duplicates">): string[] {
  const all = [...sources, ...evalSources];
  return [
    ...all.flatMap(({ cut, name, emptied }) =>
      cut === 0
        ? []
        : `${name}: ${countOf(cut, "document")} cut at the end${emptied > 0 ? `, ${emptied} of them left out as nothing to learn remained` : ""}; a larger --max-seq-length keeps more`,
    ),
    ...all.flatMap(({ name, skipped, firstSkipped }) =>
      skipped === 0 ? [] : `${name}: ${countOf(skipped, "example")} skipped; the first one: ${firstSkipped}`,
    ),
    ...all.flatMap(({ name, dropped }) =>
      dropped === 0 ? [] : `${name}: ${countOf(dropped, "example")} left out by --max-samples`,
    ),
    ...(duplicates === 0
      ? []
      : [`${countOf(duplicates, "example")} of the evaluation are trained, too: its loss will look too good`]),
  ];
}

function formatWarnings(report: DataReport, { width, colors }: ReportStyle): string[] {
  const label = "note: ";
  const fitted = (text: string) =>
    width === undefined ? text : wrapWords(text, width - label.length).join(`\n${" ".repeat(label.length)}`);
  const lines = listDataWarnings(report).map((text) => `${colors.cyan(label.trim())} ${fitted(withoutControls(text))}`);
  return lines.length === 0 ? [] : [lines.join("\n")];
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}
