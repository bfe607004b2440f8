// bitnet inspect: what a GGUF file holds, on this machine or on the hub.

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { AdapterFile } from "../../adapter/adapter.js";
import { isAdapter } from "../../adapter/gguf.js";
import { openAdapter } from "../../adapter/open.js";
import { configName } from "../../adapter/peft.js";
import { type Gguf, openGguf } from "../../gguf/gguf.js";
import { inspectGguf } from "../../gguf/inspect.js";
import { type Hub, openHub } from "../../hub/http.js";
import { findRegistered } from "../../hub/registry.js";
import { openRemoteGguf } from "../../hub/remote-gguf.js";
import { openRepository, type RepositoryName } from "../../hub/repository.js";
import { formatRepository, type HubReference } from "../../models/reference.js";
import { listGgufFiles, listPublished } from "../../models/sources.js";
import { BitnetError } from "../../system/errors.js";
import { formatAdapter } from "../adapter-report.js";
import { formatCheckpoint } from "../checkpoint-report.js";
import { formatInspection } from "../inspect-report.js";
import { modelHelp, resolveArgument } from "../model-argument.js";
import { addOptions, groupOf } from "../option-rows.js";
import { modelRows, outputRows, sessionRows, withHelp } from "../options.js";
import { integerFrom } from "../parsers.js";
import { colorsOf, columnsOf, interruptSignal, log, note, write, writeJson } from "../terminal/output.js";

const groups = {
  model: groupOf("Model", {
    path: withHelp(modelRows.path, "the model, in the place of an argument"),
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
    .argument("[model]", modelHelp)
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet inspect model.gguf
  $ bitnet inspect model.gguf --tensors
  $ bitnet inspect adapter/
  $ bitnet inspect master/              # the folder of a checkpoint: a master, or ternary weights
  $ bitnet inspect microsoft/BitNet-b1.58-2B-4T-gguf -c 2048    # reads the head of the remote file only`,
    )
    .action(async (named: string | undefined) => {
      const { model, output } = read();
      const name = named ?? model.path;
      if (name === undefined || (named !== undefined && model.path !== undefined)) {
        command.error("expected a model", { exitCode: 2 });
      }
      const adapter = await findAdapter(name);
      if (adapter !== undefined) {
        showAdapter(adapter, output);
        return;
      }
      if (isCheckpoint(name)) {
        await showCheckpoint(name, output);
        return;
      }
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

/** The adapter that a path on this machine is, if it is one. */
async function findAdapter(path: string): Promise<AdapterFile | undefined> {
  const there = statSync(path, { throwIfNoEntry: false });
  const isPeft = there?.isDirectory() ? existsSync(join(path, configName)) : /\.safetensors$/i.test(path);
  const isOne = there !== undefined && (isPeft || (there.isFile() && isGgufAdapter(path)));
  return isOne ? await openAdapter(path) : undefined;
}

function isCheckpoint(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true && existsSync(join(path, "config.json"));
}

async function showCheckpoint(path: string, { tensors, json }: { tensors?: boolean; json?: boolean }): Promise<void> {
  const { inspectCheckpoint } = await import("../../checkpoint/inspect.js");
  const report = await inspectCheckpoint(path);
  if (json) {
    writeJson(report);
    return;
  }
  const view = { tensors, width: columnsOf(process.stdout), heading: colorsOf(process.stdout).bold };
  write(formatCheckpoint(report, view));
}

function isGgufAdapter(path: string): boolean {
  return /\.gguf$/i.test(path) && isAdapter(openGguf(path, { alone: true }));
}

function showAdapter(adapter: AdapterFile, { tensors, json }: { tensors?: boolean; json?: boolean }): void {
  if (json) {
    writeJson(adapter);
    return;
  }
  const view = { tensors, width: columnsOf(process.stdout), heading: colorsOf(process.stdout).bold };
  write(formatAdapter(adapter, view));
  for (const warning of adapter.warnings) {
    note(warning);
  }
}

/** A file that is here, or the head of one of the hub. */
async function openModel(model: string, file: string | undefined): Promise<Gguf> {
  const resolved = await resolveArgument(model);
  return resolved.kind === "path" ? openGguf(resolved.path) : openOfHub({ ...resolved, file: file ?? resolved.file });
}

async function openOfHub(reference: HubReference): Promise<Gguf> {
  const signal = interruptSignal();
  const hub = await openHub({ onNote: log });
  const { repository: name, revision, type, file } = reference;
  const { repository, all } = await openWithGguf(hub, { name, revision }, signal);
  const usual = listPublished(repository, type ?? "i2_s").slice(0, 1); // what setup-env would take
  const files = type !== undefined || usual.length > 0 ? usual : all;
  const [chosen, ...others] = file === undefined ? files : all.filter((path) => path === file);
  if (chosen === undefined || others.length > 0) {
    const wanted = [type?.toUpperCase(), "GGUF file"].filter((word) => word !== undefined).join(" ");
    const what = chosen === undefined ? `holds no ${file ?? wanted}` : "holds several GGUF files";
    throw new BitnetError("USAGE", `${formatRepository(reference)} ${what}`, {
      hint:
        all.length === 0
          ? `bitnet pull ${formatRepository(reference)} makes one of its checkpoint, if it has one`
          : `name one with --file: ${all.join(", ")}`,
    });
  }
  return openRemoteGguf(hub, repository, chosen, { signal });
}

/** The repository, or the one where the makers of a known model publish its GGUF files. */
async function openWithGguf(hub: Hub, wanted: RepositoryName, signal: AbortSignal) {
  const repository = await openRepository(hub, wanted, { signal });
  const all = listGgufFiles(repository);
  const twin = findRegistered(wanted.name)?.ggufRepo;
  if (all.length > 0 || twin === undefined || twin === wanted.name) {
    return { repository, all };
  }
  const published = await openRepository(hub, { name: twin, revision: "main" }, { signal });
  return { repository: published, all: listGgufFiles(published) };
}
