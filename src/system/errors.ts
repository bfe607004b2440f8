// The one error class of the library; its code decides the exit status and, for a server, the HTTP status.

const exitStatuses = {
  INTERNAL: 1, // a fault of this program or of its installation
  USAGE: 1, // a wrong argument; exit status 2 where the command line itself cannot be parsed (cli.ts)
  NOT_FOUND: 1, // a file, directory or repository that is not there
  BAD_FILE: 1, // a file that does not hold what it should
  UNSUPPORTED: 1, // a valid file or request that this build or CPU cannot serve
  NETWORK: 1,
  NO_MEMORY: 1,
  NO_SPACE: 1, // on a disk
  ABORTED: 130, // by an AbortSignal or Ctrl-C
} as const;

export type BitnetErrorCode = keyof typeof exitStatuses;

export class BitnetError extends Error {
  readonly code: BitnetErrorCode;
  /** What to do next, if there is something; one line. */
  readonly hint?: string;

  constructor(code: BitnetErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "BitnetError";
    this.code = code;
    if (options.hint !== undefined) {
      this.hint = options.hint;
    }
  }
}

/** Exit status of a process that ends with `error`. */
export function exitStatusOf(error: BitnetError): number {
  return exitStatuses[error.code];
}

/**
 * Any thrown value as a BitnetError: errors of the native core and of Node's file system keep their meaning, the rest
 * is INTERNAL. The original is the cause.
 */
export function toBitnetError(error: unknown): BitnetError {
  if (error instanceof BitnetError) {
    return error;
  }
  if (!(error instanceof Error)) {
    return new BitnetError("INTERNAL", String(error), { cause: error });
  }
  const { path } = error as NodeJS.ErrnoException;
  const message = typeof path === "string" ? `${path}: ${reasonOf(error)}` : error.message;
  return new BitnetError(codeOf(error), message, { cause: error });
}

const reasons: Record<string, string> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOENT: "no such file or directory",
  ENOTDIR: "no such directory",
  EISDIR: "it is a directory",
  EFBIG: "the file would be too large",
};

/** What a failure of the file system means, in words; the message of any other error. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return (code === undefined ? undefined : reasons[code]) ?? message;
}

const systemCodes = new Map<string, BitnetErrorCode>([
  ["ENOENT", "NOT_FOUND"],
  ["ENOTDIR", "NOT_FOUND"],
  ["EISDIR", "BAD_FILE"],
  ["EACCES", "NOT_FOUND"],
  ["EPERM", "NOT_FOUND"],
  ["ENOMEM", "NO_MEMORY"],
  ["ENOSPC", "NO_SPACE"],
  ["EDQUOT", "NO_SPACE"],
  ["ABORT_ERR", "ABORTED"],
]);

function codeOf(error: Error): BitnetErrorCode {
  const code: unknown = (error as { code?: unknown }).code;
  if (typeof code === "string") {
    if (Object.hasOwn(exitStatuses, code)) {
      return code as BitnetErrorCode;
    }
    const known = systemCodes.get(code);
    if (known !== undefined) {
      return known;
    }
  }
  return error.name === "AbortError" ? "ABORTED" : "INTERNAL";
}

/** Runs `body`; whatever it throws comes out as a BitnetError. */
export function converting<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw toBitnetError(error);
  }
}

/** The same for a promise. */
export async function convertingAsync<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw toBitnetError(error);
  }
}

/** Throws ABORTED if `signal` has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw abortedError(signal);
  }
}

export function abortedError(signal?: AbortSignal): BitnetError {
  return new BitnetError("ABORTED", "stopped before the end", { cause: signal?.reason });
}
