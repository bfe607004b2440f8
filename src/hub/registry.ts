// The models that setup_env.py knows, with what a user wants to know before downloading one.

export type ModelFamily = "bitnet" | "bitnet-b1.58" | "llama" | "qwen3" | "gemma3";

export interface RegisteredModel {
  /** owner/name on the hub. */
  repo: string;
  /** What it may be called here: "2b". */
  short: string;
  /** Name of the architecture in the GGUF file. */
  family: ModelFamily;
  kind: "base" | "instruct" | "embedding";
  /** As its makers give it: "2B". */
  parameters: string;
  license: string;
  /** Where GGUF files made by the same people lie; not every one of them has every type. */
  ggufRepo?: string;
}

const falconLicense = "Falcon-LLM License 2.0";

function falcon3(size: string, instruct: boolean): RegisteredModel {
  const repo = `tiiuae/Falcon3-${size}${instruct ? "-Instruct" : ""}-1.58bit`;
  return {
    repo,
    short: `falcon3-${size.toLowerCase()}${instruct ? "" : "-base"}`,
    family: "llama",
    kind: instruct ? "instruct" : "base",
    parameters: size,
    license: falconLicense,
    ...(instruct && { ggufRepo: `${repo}-GGUF` }),
  };
}

function falconE(size: string, kind: "Instruct" | "Base"): RegisteredModel {
  const repo = `tiiuae/Falcon-E-${size}-${kind}`;
  return {
    repo,
    short: `falcon-e-${size.toLowerCase()}${kind === "Instruct" ? "" : "-base"}`,
    family: "llama",
    kind: kind === "Instruct" ? "instruct" : "base",
    parameters: size,
    license: falconLicense,
    ggufRepo: `${repo}-GGUF`,
  };
}

export const registeredModels: readonly RegisteredModel[] = [
  {
    repo: "1bitLLM/bitnet_b1_58-large",
    short: "large",
    family: "bitnet",
    kind: "base",
    parameters: "0.7B",
    license: "MIT",
  },
  { repo: "1bitLLM/bitnet_b1_58-3B", short: "3b", family: "bitnet", kind: "base", parameters: "3.3B", license: "MIT" },
  {
    repo: "HF1BitLLM/Llama3-8B-1.58-100B-tokens",
    short: "llama3-8b",
    family: "llama",
    kind: "base",
    parameters: "8B",
    license: "Llama 3 Community License",
  },
  falcon3("7B", true),
  falcon3("7B", false),
  falcon3("10B", true),
  falcon3("10B", false),
  falcon3("3B", true),
  falcon3("3B", false),
  falcon3("1B", true),
  {
    repo: "microsoft/BitNet-b1.58-2B-4T",
    short: "2b",
    family: "bitnet-b1.58",
    kind: "instruct",
    parameters: "2.4B",
    license: "MIT",
    ggufRepo: "microsoft/BitNet-b1.58-2B-4T-gguf",
  },
  falconE("3B", "Instruct"),
  falconE("1B", "Instruct"),
  falconE("3B", "Base"),
  falconE("1B", "Base"),
  {
    repo: "microsoft/bitnet-embedding-0.6b",
    short: "embedding-0.6b",
    family: "qwen3",
    kind: "embedding",
    parameters: "0.6B",
    license: "MIT",
    ggufRepo: "microsoft/bitnet-embedding-0.6b",
  },
  {
    repo: "microsoft/bitnet-embedding-270m",
    short: "embedding-270m",
    family: "gemma3",
    kind: "embedding",
    parameters: "270M",
    license: "MIT",
    ggufRepo: "microsoft/bitnet-embedding-270m",
  },
];

/** The entry of a repository; the hub does not distinguish upper and lower case either. */
export function findRegistered(repo: string): RegisteredModel | undefined {
  return registeredModels.find((model) => model.repo.toLowerCase() === repo.toLowerCase());
}

/** The entry whose checkpoint or GGUF files a repository has. */
export function findPublishing(repo: string): RegisteredModel | undefined {
  return (
    findRegistered(repo) ?? registeredModels.find(({ ggufRepo }) => ggufRepo?.toLowerCase() === repo.toLowerCase())
  );
}

/** The entry that a name without an owner means: the short one, or the last part of the repository. */
export function findByName(name: string): RegisteredModel | undefined {
  const wanted = name.toLowerCase();
  return registeredModels.find(({ repo, short }) => short === wanted || repo.toLowerCase().endsWith(`/${wanted}`));
}
