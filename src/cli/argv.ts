// Spellings of bitnet.cpp and llama.cpp on the command line. Nothing here knows a command.

import { closest } from "../system/closest.js";

// Spellings of bitnet.cpp and llama.cpp that commander would split into one-letter options, and second long names.
const spellings: Record<string, string> = {
  "-cnv": "--conversation",
  "-temp": "--temp",
  "--temperature": "--temp",
  "--predict": "--n-predict",
  "--reverse-prompt": "--stop",
  "-ctk": "--cache-type",
  "-ctv": "--cache-type",
  "--cache-type-k": "--cache-type",
  "--cache-type-v": "--cache-type",
  "-tb": "--threads-batch",
  "-ub": "--ubatch-size",
  "-ngl": "--n-gpu-layers",
  "--gpu-layers": "--n-gpu-layers",
  "-pg": "--prompt-generate",
  "-hr": "--hf-repo",
  "-md": "--model-dir",
  "-ld": "--log-dir",
};

// The argument after one of these is free text, whatever it looks like.
const takesText = new Set([
  "-p",
  "--prompt",
  "-f",
  "--file",
  "-r",
  "--stop",
  "--reverse-prompt",
  "-m",
  "--model",
  "--history",
  "--chat-template",
  "--dry-sequence-breaker",
]);

// setup_env.py's -p is a switch.
function isTextOption(arg: string, args: readonly string[]): boolean {
  return takesText.has(arg) && !(arg === "-p" && args[0] === "setup-env");
}

/** The known spelling that is nearest to an unknown option: commander itself knows only its own names. */
export function closestSpelling(option: string): string | undefined {
  return closest(option, Object.keys(spellings));
}

/** An argument list with every known spelling replaced by the long option of this program. */
export function normalizeArgv(args: readonly string[]): string[] {
  const result: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (arg === "--") {
      return [...result, ...args.slice(i)];
    }
    result.push(normalizeOption(arg));
    if (isTextOption(arg, args) && i + 1 < args.length) {
      result.push(args[++i] ?? "");
    }
  }
  return result;
}

function normalizeOption(arg: string): string {
  const equals = arg.startsWith("-") ? arg.indexOf("=") : -1;
  const name = equals < 0 ? arg : arg.slice(0, equals);
  const known = Object.hasOwn(spellings, name) ? spellings[name] : undefined;
  return known === undefined ? arg : known + arg.slice(name.length);
}

/** The first argument like `-tmp`, which would be read as `-t mp`, with the spelling that was perhaps meant. */
export function findUnknownSpelling(normalized: readonly string[]): { arg: string; suggestion?: string } | undefined {
  for (let i = 0; i < normalized.length; i++) {
    const arg = normalized[i] ?? "";
    if (arg === "--") {
      return undefined;
    }
    if (/^-[A-Za-z]{2,}$/.test(arg)) {
      return { arg, suggestion: closest(arg, Object.keys(spellings)) };
    }
    if (isTextOption(arg, normalized)) {
      i++;
    }
  }
  return undefined;
}
