// From what a user types to a model: a file that is there, or one of the hub that can be had.
//
// In this order: a path that exists; an address or hf: URI; a name that bitnet list prints; a repository, if it is set up
// or in the cache; else a model of the hub to download, by its repository or by a name of the table of known models.

import type { Stats } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { readHubEnvironment } from "../hub/environment.js";
import { registeredModels } from "../hub/registry.js";
import { closest } from "../system/closest.js";
import { BitnetError } from "../system/errors.js";
import { expandHome, modelsFolders } from "../system/folders.js";
import { checkOptionNames, type OptionNames } from "../system/options.js";
import { listModels, longNameOf, type ModelFile } from "./installed.js";
import { isSameRepository } from "./provenance.js";
import { type HubReference, parseReference, splitType } from "./reference.js";

export type ResolvedModel =
  /** A GGUF file on this machine, or where `source` is wanted also a checkpoint's folder. */
  { kind: "path"; path: string } | ({ kind: "hub" } & HubReference);

export interface ResolveOptions {
  /** "gguf": a file to run. "source": what a conversion reads; a repository then always means its checkpoint. */
  want?: "gguf" | "source";
  /** Default: the user's folder of models and, in the current folder, models/. */
  modelDir?: string;
  /** Default: the cache of the hub that the environment names. */
  cacheDir?: string;
}

const resolveOptions: OptionNames<ResolveOptions> = { want: true, modelDir: true, cacheDir: true };

/** Finds the model that `text` names. Throws USAGE for a malformed or ambiguous name, NOT_FOUND with the nearest ones. */
export async function resolveModel(text: string, options: ResolveOptions = {}): Promise<ResolvedModel> {
  checkOptionNames("resolveModel", options, resolveOptions);
  const { want = "gguf", ...folders } = options;
  const path = await findPath(text, want, options.modelDir === undefined ? modelsFolders() : [options.modelDir]);
  if (path !== undefined) {
    return { kind: "path", path };
  }
  const models = await listModels(folders);
  const isUnderDot = /^[./~\\]/.test(text);
  const named = scheme.test(text) || isUnderDot ? [] : findNamed(models, withoutModels(text));
  const chosen = chooseModel(text, named);
  if (chosen !== undefined) {
    return { kind: "path", path: chosen.path };
  }
  if (isPath(text)) {
    throw notFoundError(text, models);
  }
  const { endpoint } = await readHubEnvironment();
  const reference = parseReference(text, endpoint);
  if (reference === undefined) {
    throw text.includes("/") ? malformedError(text) : notFoundError(text, models);
  }
  const installed = want === "source" ? undefined : chooseModel(text, findInstalled(models, reference));
  return installed === undefined ? { kind: "hub", ...reference } : { kind: "path", path: installed.path };
}

const scheme = /^(https?|hf|huggingface):/i;

/** What can only be meant as a path. "models/NAME" is where bitnet.cpp has its models. */
function isPath(text: string): boolean {
  const looksLikeIt = /^([./~\\]|[a-z]:[\\/]|models[/\\])|\\|\.gguf$/i.test(text);
  return text === "" || (!scheme.test(text) && looksLikeIt);
}

/** A path as it is, or as it is in a folder of models: "models/NAME/FILE" of bitnet.cpp's command lines, too. */
async function findPath(
  text: string,
  want: "gguf" | "source",
  modelDirs: readonly string[],
): Promise<string | undefined> {
  if (text === "" || scheme.test(text)) {
    return undefined;
  }
  const path = expandHome(text);
  const info = await stat(path).catch(() => undefined);
  if (info?.isDirectory() && (want === "source" || isWithFolder(text) || (await listGgufs(path)).length > 0)) {
    return want === "source" ? path : findInFolder(path);
  }
  const inFolders = /^[./~\\]/.test(text) ? [] : modelDirs.map((folder) => join(folder, withoutModels(text)));
  for (const candidate of info?.isFile() || isSpecial(info) ? [path] : inFolders) {
    const found = candidate === path ? info : await stat(candidate).catch(() => undefined);
    if (found !== undefined && !found.isDirectory()) {
      return candidate;
    }
  }
  return undefined;
}

/** A device or a pipe: whoever opens it says what is wrong with it. */
function isSpecial(info: Stats | undefined): boolean {
  return info !== undefined && !info.isFile() && !info.isDirectory();
}

/** "models/x", "./x" and "/x", but not "x", which may be a name. */
function isWithFolder(text: string): boolean {
  return /[/\\]/.test(text);
}

function withoutModels(text: string): string {
  return text.replace(/^models[/\\]/, "");
}

async function listGgufs(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(() => [])).filter((name) => /\.gguf$/i.test(name)).sort();
}

/** The GGUF file of a folder that was named in its place. */
async function findInFolder(folder: string): Promise<string> {
  const files = await listGgufs(folder);
  const [only, ...others] = files;
  if (only === undefined || others.length > 0) {
    const what = only === undefined ? "holds no GGUF file" : "holds several GGUF files";
    throw new BitnetError(only === undefined ? "NOT_FOUND" : "USAGE", `${folder} ${what}`, {
      hint: only === undefined ? "bitnet convert makes one of a checkpoint" : `name one of ${files.join(", ")}`,
    });
  }
  return join(folder, only);
}

/** Models that a name without an owner means, as bitnet list prints it, with or without a type. */
function findNamed(models: readonly ModelFile[], text: string): ModelFile[] {
  const ofName = (name: string, type?: string) => {
    const wanted = name.toLowerCase();
    const files = models.filter((model) => model.kind === "gguf" && (type === undefined || hasType(model, type)));
    const own = files.filter((model) => model.where === "models" && model.name.toLowerCase() === wanted);
    const isCached = (model: ModelFile) => model.where === "cache" && model.name.toLowerCase().endsWith(`/${wanted}`);
    return own.length > 0 || name.includes("/") ? own : files.filter(isCached);
  };
  const long = text.toLowerCase();
  const byFile = models.filter((model) => model.kind === "gguf" && longNameOf(model).toLowerCase() === long);
  const exact = byFile.length > 0 ? byFile : ofName(text);
  if (exact.length > 0 || !/:[^/\\]+$/.test(text)) {
    return exact;
  }
  const isName = ofName(text.replace(/:[^/\\]+$/, "")).length > 0;
  const { name, type } = isName ? splitType(text) : { name: text };
  return ofName(name, type);
}

function hasType(model: ModelFile, type: string): boolean {
  return model.type.toLowerCase() === type;
}

/** Models that are set up, or in the cache, as this repository and revision. */
function findInstalled(models: readonly ModelFile[], { repository, revision, type, file }: HubReference): ModelFile[] {
  const fits = models.filter((model) => {
    const isRepository = isSameRepository(model.repository ?? "", repository);
    const isRevision = model.revisions?.includes(revision) || model.commit === revision;
    const isFile = file === undefined || model.file === file;
    return (
      model.kind === "gguf" && isRepository && isRevision && isFile && (type === undefined || hasType(model, type))
    );
  });
  const own = fits.filter(({ where }) => where === "models");
  // Where no file is named, the one that lies under the name that setup_env.py gives the model's own.
  const usual = own.filter(({ path }) => file === undefined && /^ggml-model-[^/]*$/.test(basename(path)));
  return [usual, own].find((models) => models.length > 0) ?? fits;
}

/** The entries of `models` that a short name, a repository or an address means. */
export async function findReferenced(models: readonly ModelFile[], text: string): Promise<ModelFile[]> {
  const { endpoint } = await readHubEnvironment();
  const reference = parseReference(text, endpoint);
  return reference === undefined ? [] : findInstalled(models, reference);
}

/** The one model; undefined if there is none. Throws USAGE, naming them, where there are several. */
function chooseModel(text: string, models: readonly ModelFile[]): ModelFile | undefined {
  const [first] = models;
  const files = new Set(models.map(({ identity }) => identity)); // a file may have several names
  if (first === undefined || files.size === 1) {
    return first;
  }
  const types = new Set(models.map(({ type }) => type.toLowerCase()));
  const isByType = types.size === models.length && !/:[^/\\]+$/.test(text);
  const long = models.map(longNameOf);
  const isByFile = new Set(long).size === long.length;
  const candidates = models.map((model, i) =>
    isByType ? `${text}:${model.type.toLowerCase()}` : ((isByFile ? long[i] : undefined) ?? model.path),
  );
  throw new BitnetError("USAGE", `${text} is the name of ${models.length} models`, {
    hint: `name one: ${candidates.join(", ")}`,
  });
}

function malformedError(text: string): BitnetError {
  return new BitnetError("USAGE", `${text} is neither a file that is there nor the name of a repository`, {
    hint: "expected the path of a GGUF file, or owner/name[@revision][:type] of the hub",
  });
}

function notFoundError(text: string, models: readonly ModelFile[]): BitnetError {
  const installed = [...new Set(models.map(({ name }) => name))];
  const known = registeredModels.filter(({ kind }) => kind !== "embedding").map(({ short }) => short);
  if (isPath(text)) {
    const meant = closest(text.replace(/^.*[/\\]/, "").replace(/\.gguf$/i, ""), installed);
    return new BitnetError("NOT_FOUND", `${text}: no such file or directory`, {
      hint: meant === undefined ? "bitnet list shows the models on this machine" : `did you mean the model ${meant}?`,
    });
  }
  const meant = closest(text, [...installed, ...known]);
  const hint = "bitnet list shows the models on this machine, bitnet pull --help those that are known";
  return new BitnetError("NOT_FOUND", `no model is called ${text}`, {
    hint: meant === undefined ? hint : `did you mean ${meant}? ${hint}`,
  });
}
