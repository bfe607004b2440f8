// bitnet inspect: what a GGUF file holds, on this machine or on the hub.

import { existsSync } from "node:fs";
import type { Command } from "commander";
import { type Gguf, openGguf } from "../../gguf/gguf.js";
import { type InspectReport, inspectGguf } from "../../gguf/inspect.js";
import { openHub } from "../../hub/http.js";
import { openRemoteGguf } from "../../hub/remote-gguf.js";
import { openRepository, parseRepositoryName } from "../../hub/repository.js";
import { BitnetError } from "../../system/errors.js";
import { integerFrom } from "../parsers.js";
import { interruptSignal, log, write, writeJson } from "../terminal/output.js";
import { formatBytes } from "../terminal/progress.js";

interface InspectOptions {
  ctxSize?: number;
  file?: string;
  json?: boolean;
}

const longestText = 80;

export default function configureInspect(command: Command): void {
  command
    .argument("<model>", "GGUF file, or owner/name[@revision] of the Hugging Face hub")
    .option(
      "-c, --ctx-size <n>",
      "context for the memory estimate (default: the model's, at most 4096)",
      integerFrom(1, 2 ** 24),
    )
    .option("--file <name>", "which GGUF file of a repository that has several")
    .option("--json", "print everything as one JSON object")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet inspect model.gguf
  $ bitnet inspect microsoft/BitNet-b1.58-2B-4T-gguf -c 2048   (reads the head of the remote file only)`,
    )
    .action(async (model: string, options: InspectOptions) => {
      const report = inspectGguf(await openModel(model, options.file), { contextSize: options.ctxSize });
      if (options.json) {
        writeJson({ ...report, path: model });
      } else {
        write(formatReport(model, report));
      }
    });
}

async function openModel(model: string, file: string | undefined): Promise<Gguf> {
  const name = existsSync(model) ? undefined : parseRepositoryName(model);
  if (name === undefined || model.endsWith(".gguf")) {
    return openGguf(model);
  }
  const signal = interruptSignal();
  const hub = await openHub({ onNote: log });
  const repository = await openRepository(hub, name, { signal });
  const files = repository.files.map(({ path }) => path).filter((path) => path.endsWith(".gguf"));
  const [chosen, ...others] = file === undefined ? files : files.filter((path) => path === file);
  if (chosen === undefined || others.length > 0) {
    const what = chosen === undefined ? "holds no such GGUF file" : "holds several GGUF files";
    throw new BitnetError("USAGE", `${model} ${what}`, {
      hint: `name one with --file: ${files.join(", ") || "there is none"}`,
    });
  }
  return openRemoteGguf(hub, repository, chosen, { signal });
}

function formatReport(model: string, report: InspectReport): string {
  const { version, fileSize, architecture, name, parameters, metadata, tensors, types, memory } = report;
  const lines = [
    `${model}: GGUF version ${version}, ${formatBytes(fileSize)}, ${tensors.length} tensors, ${parameters} parameters`,
    `${name || "(no name)"}, architecture ${architecture || "(none)"}`,
    "",
    "metadata",
    ...alignColumns(Object.entries(metadata).map(([key, value]) => [key, formatValue(value)])),
    "",
    "tensors",
    ...alignColumns(
      tensors.map(({ name, type, shape, bytes }) => [name, type, `[${shape.join(", ")}]`, formatBytes(bytes)]),
    ),
    "",
    "types",
    ...alignColumns(types.map(({ type, tensors, bytes }) => [type, `${tensors} tensors`, formatBytes(bytes)])),
  ];
  if (memory !== undefined) {
    const { contextSize, weights, kvCache, total } = memory;
    const parts = `${formatBytes(weights)} weights + ${formatBytes(kvCache)} keys and values`;
    lines.push("", `memory to run it with a context of ${contextSize}: about ${formatBytes(total)} (${parts})`);
  }
  return `${lines.map(withoutControls).join("\n")}\n`;
}

function alignColumns(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((text, column) => text.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd());
}

function formatValue(value: InspectReport["metadata"][string]): string {
  if (typeof value === "object") {
    return `${value.arrayOf} [${value.length}]`;
  }
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > longestText ? `${text.slice(0, longestText)}... (${text.length} characters)` : text;
}

/** A file's own strings must not move the terminal's cursor. */
function withoutControls(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\ufffd");
}
