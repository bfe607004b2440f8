// bitnet inspect: what a GGUF file holds, on this machine or on the hub.

import { existsSync } from "node:fs";
import type { Command } from "commander";
import { type Gguf, openGguf } from "../../gguf/gguf.js";
import { type InspectReport, inspectGguf } from "../../gguf/inspect.js";
import { openHub } from "../../hub/http.js";
import { openRemoteGguf } from "../../hub/remote-gguf.js";
import { openRepository, parseRepositoryName } from "../../hub/repository.js";
import { BitnetError } from "../../system/errors.js";
import { addOptions, groupOf } from "../option-rows.js";
import { outputRows, sessionRows } from "../options.js";
import { integerFrom } from "../parsers.js";
import { formatBytes, formatColumns, oneLine } from "../terminal/format.js";
import { interruptSignal, log, write, writeJson } from "../terminal/output.js";

const longestText = 80;
const indented = { indent: "  " };

const groups = {
  model: groupOf("Model", {
    file: { flags: "--file <name>", help: "which GGUF file of a repository that has several" },
    cacheType: sessionRows.cacheType,
    contextSize: {
      flags: "-c, --ctx-size <n>",
      help: "context for the memory estimate (default: the model's, at most 4096)",
      parse: integerFrom(1, 2 ** 24),
    },
  }),
  output: groupOf("Output", { json: outputRows.json }),
};

export default function configureInspect(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("<model>", "GGUF file, or owner/name[@revision] of the Hugging Face hub")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet inspect model.gguf
  $ bitnet inspect microsoft/BitNet-b1.58-2B-4T-gguf -c 2048   (reads the head of the remote file only)`,
    )
    .action(async (name: string) => {
      const { model, output } = read();
      const report = inspectGguf(await openModel(name, model.file), {
        contextSize: model.contextSize,
        cacheType: model.cacheType,
      });
      if (output.json) {
        writeJson({ ...report, path: name });
      } else {
        write(formatReport(name, report));
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
  const { version, fileSize, split, architecture, name, parameters, metadata, tensors, types, memory } = report;
  const parts =
    split && (split.part === undefined ? `${split.parts} parts, ` : `part ${split.part} of ${split.parts}, `);
  const lines = [
    oneLine(
      `${model}: GGUF version ${version}, ${parts ?? ""}${formatBytes(fileSize)}, ${tensors.length} tensors, ${parameters} parameters`,
    ),
    oneLine(`${name || "(no name)"}, architecture ${architecture || "(none)"}`),
    "",
    "metadata",
    ...formatColumns(
      Object.entries(metadata).map(([key, value]) => [key, formatValue(value)]),
      indented,
    ),
    "",
    "tensors",
    ...formatColumns(
      tensors.map(({ name, type, shape, bytes }) => [name, type, `[${shape.join(", ")}]`, formatBytes(bytes)]),
      indented,
    ),
    "",
    "types",
    ...formatColumns(
      types.map(({ type, tensors, bytes }) => [type, `${tensors} tensors`, formatBytes(bytes)]),
      indented,
    ),
  ];
  if (memory !== undefined) {
    const { contextSize, weights, kvCache, total } = memory;
    const parts = `${formatBytes(weights)} weights + ${formatBytes(kvCache)} keys and values`;
    lines.push("", `memory to run it with a context of ${contextSize}: about ${formatBytes(total)} (${parts})`);
  }
  return `${lines.join("\n")}\n`;
}

function formatValue(value: InspectReport["metadata"][string]): string {
  if (typeof value === "object") {
    return `${value.arrayOf} [${value.length}]`;
  }
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > longestText ? `${text.slice(0, longestText)}... (${text.length} characters)` : text;
}
