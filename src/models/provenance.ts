// Where a GGUF file in a folder of models came from. A small JSON file beside it remembers that, so that a file is never
// taken for a model of another owner or revision because their folders would have the same name.

import { open, readFile, rm, stat, utimes } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { type Gguf, openGguf } from "../gguf/gguf.js";
import { parseRepositoryName, type Repository, type RepositoryName } from "../hub/repository.js";
import { replaceFile } from "../system/files.js";

/** One file of a repository that a model was made of. */
export interface SourceFile {
  /** In the repository, with slashes. */
  path: string;
  bytes: number;
  /** As the hub tells it: "sha256:..." or "git-sha1:..."; absent for what came out of the cache offline. */
  hash?: string;
}

export interface Provenance {
  /** owner/name as it was asked for. */
  repository: string;
  /** As it was asked for: a branch, a tag or a commit. */
  revision: string;
  /** What it is made of. The repository is another one where the makers publish GGUF files in one of their own. */
  source: { repository: string; commit: string; files: SourceFile[] };
  /** Published as it is, or converted here. */
  made: "published" | "converted";
  /** Of the weights: "i2_s". */
  type: string;
}

/** What the note says of the file beside it, to see whether it still means that file. */
interface Note extends Provenance {
  format: typeof formatName;
  version: 1;
  bytes: number;
  modified: string; // ISO 8601
}

const formatName = "bitnet-model-source";
const maxNoteBytes = 2 ** 18; // a checkpoint of a thousand shards
const longestText = 1024;
const coarsestClockMs = 2000; // of the file systems in use, FAT has the coarsest times

export function notePath(path: string): string {
  return `${path}.json`;
}

/** What the note beside `path` says; undefined if there is none, if it is damaged, or if it means another file. */
export async function readProvenance(path: string): Promise<Provenance | undefined> {
  const [file, note] = await Promise.all([stat(path).catch(() => undefined), readNote(notePath(path))]);
  if (file === undefined || note === undefined || file.size !== note.bytes) {
    return undefined;
  }
  if (Math.abs(file.mtimeMs - Date.parse(note.modified)) > coarsestClockMs) {
    return undefined; // replaced since
  }
  const { repository, revision, source, made, type } = note;
  return { repository, revision, source, made, type };
}

/** Writes the note; a folder that cannot be written to has none. */
export async function writeProvenance(path: string, provenance: Provenance): Promise<void> {
  const { size, mtime } = await stat(path);
  const note: Note = {
    format: formatName,
    version: 1,
    ...provenance,
    bytes: size,
    modified: mtime.toISOString(),
  };
  await replaceFile(notePath(path), `${JSON.stringify(note, null, 2)}\n`);
}

/** Takes the note of one file over to its copy, which gets the time of the file, too. */
export async function copyProvenance(from: string, to: string): Promise<void> {
  const provenance = await readProvenance(from);
  if (provenance !== undefined) {
    const { atime, mtime } = await stat(from);
    await utimes(to, atime, mtime);
    await writeProvenance(to, provenance);
  }
}

export async function removeNote(path: string): Promise<void> {
  if ((await readNote(notePath(path))) !== undefined) {
    await rm(notePath(path), { force: true });
  }
}

async function readNote(path: string): Promise<Note | undefined> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile() || info.size > maxNoteBytes) {
    return undefined;
  }
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    return isNote(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isNote(value: unknown): value is Note {
  if (!isObject(value) || value.format !== formatName || value.version !== 1 || !isObject(value.source)) {
    return false;
  }
  const { repository, revision, source, made, type, bytes, modified } = value;
  const isText = (text: unknown) => typeof text === "string" && text.length <= longestText;
  const isFile = (file: unknown) =>
    isObject(file) && isText(file.path) && isCount(file.bytes) && (file.hash === undefined || isText(file.hash));
  return (
    [repository, revision, type, modified, source.commit, source.repository].every(isText) &&
    parseRepositoryName(String(repository)) !== undefined &&
    (made === "published" || made === "converted") &&
    isCount(bytes) &&
    Array.isArray(source.files) &&
    source.files.every(isFile)
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** What a note says of these files of a repository. */
export function sourceOf({ name, commit, files }: Repository, paths: readonly string[]): Provenance["source"] {
  const used = files.filter(({ path }) => paths.includes(path));
  return {
    repository: name,
    commit,
    files: used.map(({ path, size, hash }) => ({
      path,
      bytes: size,
      ...(hash !== undefined && { hash: `${hash.kind}:${hash.hex}` }),
    })),
  };
}

/** Whether a model is what a request asks for. */
export function isSameModel(provenance: Provenance, { name, revision }: RepositoryName, file?: string): boolean {
  const isSource = isSameRepository(provenance.source.repository, name) && provenance.source.commit === revision;
  const isAsked = isSameRepository(provenance.repository, name) && provenance.revision === revision;
  return (isAsked || isSource) && (file === undefined || isMadeOf(provenance, file));
}

function isMadeOf({ made, source }: Provenance, file: string): boolean {
  return made === "published" && source.files.some(({ path }) => path === file);
}

/** The hub does not distinguish upper and lower case. */
export function isSameRepository(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

/** The repository that a converted file names in its own metadata; undefined if it names none or cannot be read. */
export function claimedRepository(gguf: Gguf): RepositoryName | undefined {
  const metadata = gguf.metadata();
  const named = metadata["general.source.huggingface.repository"];
  const commit = /\/tree\/([0-9a-f]{40})$/.exec(String(metadata["general.source.url"] ?? ""))?.[1];
  const text = typeof named === "string" ? named : "";
  return parseRepositoryName(commit === undefined ? text : `${text}@${commit}`);
}

/** What `hf download --local-dir` remembers of a file: the commit, and the hash of large files. */
export async function readLocalDownload(path: string): Promise<{ commit: string; sha256?: string } | undefined> {
  // The folder that was named holds .cache; the file may lie in one of its folders.
  for (let top = dirname(path), depth = 0; depth < 4; top = dirname(top), depth++) {
    const place = relative(top, path).split(sep);
    const text = await readBeginning(`${join(top, ".cache", "huggingface", "download", ...place)}.metadata`);
    const [commit = "", etag = "", time = ""] = text.split(/\r?\n/); // Python writes the ends of the system
    const info = text === "" ? undefined : await stat(path).catch(() => undefined);
    // As huggingface_hub judges it: a file that was changed afterwards is another one.
    if (info !== undefined && /^[0-9a-f]{40}$/.test(commit) && info.mtimeMs / 1000 - 1 <= Number(time)) {
      return { commit, ...(/^[0-9a-f]{64}$/.test(etag) && { sha256: etag }) };
    }
  }
  return undefined;
}

async function readBeginning(path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile()) {
    return "";
  }
  const file = await open(path, "r").catch(() => undefined);
  try {
    const { buffer, bytesRead } = (await file?.read(Buffer.alloc(1024), 0, 1024, 0)) ?? { buffer: "", bytesRead: 0 };
    return buffer.toString("utf8").slice(0, bytesRead);
  } finally {
    await file?.close();
  }
}

/** The file, if it is a GGUF one that can be opened. */
export function tryOpenGguf(path: string): Gguf | undefined {
  try {
    return openGguf(path);
  } catch {
    return undefined;
  }
}
