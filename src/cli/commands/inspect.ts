// bitnet inspect: what a GGUF file holds, on this machine or on the hub.

import { existsSync } from "node:fs";
import type { Command } from "commander";
import { type Gguf, openGguf } from "../../gguf/gguf.js";
import { inspectGguf } from "../../gguf/inspect.js";
import { openHub } from "../../hub/http.js";
import { openRemoteGguf } from "../../hub/remote-gguf.js";
import { openRepository, parseRepositoryName } from "../../hub/repository.js";
import { BitnetError } from "../../system/errors.js";
import { formatInspection } from "../inspect-report.js";
import { addOptions, groupOf } from "../option-rows.js";
import { outputRows, sessionRows } from "../options.js";
import { integerFrom } from "../parsers.js";
import { colorsOf, columnsOf, interruptSignal, log, write, writeJson } from "../terminal/output.js";

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
  output: groupOf("Output", {
    tensors: { flags: "--tensors", help: "list every tensor" },
    json: outputRows.json,
  }),
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
  $ bitnet inspect model.gguf --tensors
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
        const view = {
          tensors: output.tensors,
          width: columnsOf(process.stdout),
          heading: colorsOf(process.stdout).bold,
        };
        write(formatInspection(name, report, view));
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
