// A model of the hub as people write it: owner/name[@revision][:type], hf: and https addresses, and what bitnet list and
// the table of known models call it.

import { matrixTypes } from "../convert/types.js";
import { findByName } from "../hub/registry.js";
import { parseRepositoryName, readRepositoryName } from "../hub/repository.js";
import { BitnetError } from "../system/errors.js";

export interface HubReference {
  /** owner/name */
  repository: string;
  revision: string;
  /** Of the weights, in lower case: "i2_s"; undefined: not said. */
  type?: string;
  /** A certain file of the repository. */
  file?: string;
}

const hubHosts = new Set(["huggingface.co", "www.huggingface.co", "hf.co"]);

/**
 * The model of the hub that `text` means; undefined if it is no name of one. Throws USAGE for what can only be meant as
 * one and is wrong.
 */
export function parseReference(text: string, endpoint: string): HubReference | undefined {
  const host = /^([\w.-]+)\//.exec(text)?.[1];
  if (/^https?:\/\//i.test(text)) {
    return parseAddress(text, endpoint);
  }
  if (host !== undefined && hubHosts.has(host.toLowerCase())) {
    return parseAddress(`https://${text}`, endpoint);
  }
  const scheme = /^(?:hf|huggingface):(?:\/\/)?/i.exec(text)?.[0];
  if (scheme !== undefined) {
    return parsePath(text.slice(scheme.length), text);
  }
  if (isForeignTag(text)) {
    return undefined;
  }
  const { name, type } = splitType(text);
  const parsed = parseRepositoryName(name);
  if (parsed !== undefined) {
    return { repository: parsed.name, revision: parsed.revision, ...(type !== undefined && { type }) };
  }
  const registered = findByName(name);
  return registered && { repository: registered.repo, revision: "main", ...(type !== undefined && { type }) };
}

/** "llama3.2:1b": a name of another program, whose tag is no type, and not that of a model here. */
function isForeignTag(text: string): boolean {
  const [, name] = /^([^/:\\]{2,}):[^/:\\]+$/.exec(text) ?? [];
  return name !== undefined && findByName(name) === undefined;
}

/** The name in front of ":type", whose type has to be one that a model can have. */
export function splitType(text: string): { name: string; type?: string } {
  const match = /^(.+):([^/:\\]+)$/.exec(text);
  if (match === null || /^[a-z]$/i.test(match[1] ?? "")) {
    return { name: text }; // "c:x" is a path of Windows
  }
  const [, name = "", suffix = ""] = match;
  const type = suffix.toLowerCase();
  if (type === "latest") {
    return { name };
  }
  const known = matrixTypes().map((row) => row.name.toLowerCase());
  if (!known.includes(type)) {
    throw new BitnetError("USAGE", `${text}: a model has no type ${suffix} here`, {
      hint: `after the colon stands one of ${known.join(", ")}`,
    });
  }
  return { name, type };
}

/** owner/name[@revision][:type] or owner/name[@revision]/path/of/a/file. */
function parsePath(path: string, text: string): HubReference {
  const match = /^([^/]+\/[^/@:]+)(@[^:]+?)?(?::([^/]+)|\/(.+))?$/.exec(path);
  if (match === null) {
    throw malformedError(text);
  }
  const [, name = "", revision = "", type, file] = match;
  // A revision may have slashes only where no file follows.
  const [first = "", ...rest] = revision.split("/");
  const inRevision = file === undefined && rest.length > 0 && /\.gguf$/i.test(rest.at(-1) ?? "");
  const parsed = readRepositoryName(name + (inRevision ? first : revision));
  return withChoice(
    { repository: parsed.name, revision: parsed.revision },
    {
      type: type === undefined ? undefined : splitType(`model:${type}`).type,
      file: inRevision ? rest.join("/") : file,
    },
  );
}

/** https://huggingface.co/owner/name, also with /tree/REVISION, /blob/REVISION/FILE and /resolve/REVISION/FILE. */
function parseAddress(text: string, endpoint: string): HubReference {
  const { url, parts } = splitAddress(text, endpoint);
  const [owner = "", last = "", action, ...rest] = parts;
  const isPage = action !== undefined && ["tree", "blob", "resolve", "raw"].includes(action);
  const { name, type } = isPage ? { name: last, type: undefined } : splitType(last);
  const length = rest[0] === "refs" ? 3 : 1; // refs/pr/1
  const revision = isPage ? rest.slice(0, length).join("/") : "";
  const parsed = parseRepositoryName(`${owner}/${name}${revision === "" ? "" : `@${revision}`}`);
  if (parsed === undefined || ["datasets", "spaces"].includes(owner)) {
    throw malformedError(`${url.origin}${url.pathname}`);
  }
  const file = isPage && action !== "tree" ? rest.slice(length).join("/") : "";
  return withChoice({ repository: parsed.name, revision: parsed.revision }, { type, file: file || undefined });
}

function splitAddress(text: string, endpoint: string): { url: URL; parts: string[] } {
  const hub = new URL(endpoint);
  let url: URL;
  let path: string;
  try {
    url = new URL(text);
    path = decodeURIComponent(url.pathname);
  } catch {
    throw malformedError(text);
  }
  if (url.host !== hub.host && !hubHosts.has(url.host.toLowerCase())) {
    throw new BitnetError("USAGE", `${url.origin} is not the hub: models are downloaded from ${endpoint}`, {
      hint: "download the file and name it, or set HF_ENDPOINT to a server that speaks like the hub",
    });
  }
  const base = url.host === hub.host && path.startsWith(hub.pathname) ? hub.pathname.length : 0;
  return {
    url,
    parts: path
      .slice(base)
      .split("/")
      .filter((part) => part !== ""),
  };
}

function withChoice(
  reference: HubReference,
  { type, file }: { type: string | undefined; file: string | undefined },
): HubReference {
  return { ...reference, ...(type !== undefined && { type }), ...(file !== undefined && { file }) };
}

function malformedError(text: string): BitnetError {
  return new BitnetError("USAGE", `${text} is no model of the hub`, {
    hint: "expected owner/name, owner/name@revision, owner/name:type, or the address of a model's page or file",
  });
}

/** As setup-env takes it: "owner/name" or "owner/name@revision". */
export function formatRepository({ repository, revision }: HubReference): string {
  return revision === "main" ? repository : `${repository}@${revision}`;
}

/** The same with its type. */
export function formatReference(reference: HubReference): string {
  const { type, file } = reference;
  return `${formatRepository(reference)}${file === undefined ? "" : `/${file}`}${type === undefined ? "" : `:${type}`}`;
}
