// The one error class of the library; its code decides the exit status and, for a server, the HTTP status.

const statuses = {
  INTERNAL: { exit: 1, http: 500 }, // a fault of this program or of its installation
  USAGE: { exit: 1, http: 400 }, // a wrong argument; exit status 2 where the command line cannot be parsed (main.ts)
  NOT_FOUND: { exit: 1, http: 404 }, // a file, directory or repository that is not there or not open to this user
  BAD_FILE: { exit: 1, http: 500 }, // a file that does not hold what it should
  UNSUPPORTED: { exit: 1, http: 501 }, // a valid file or request that this build or CPU cannot serve
  NETWORK: { exit: 1, http: 502 },
  NO_MEMORY: { exit: 1, http: 503 },
  NO_SPACE: { exit: 1, http: 507 }, // on a disk
  ABORTED: { exit: 130, http: 499 }, // by an AbortSignal or Ctrl-C; 499: nobody is there to read it
} as const;

export type BitnetErrorCode = keyof typeof statuses;

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
  return statuses[error.code].exit;
}

/** HTTP status of an answer that is `error`. */
export function httpStatusOf(error: BitnetError): number {
  return statuses[error.code].http;
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

/** `what` failed because of `error`, whose code and reason are told. */
export function withContext(what: string, error: unknown): BitnetError {
  const { code, hint } = toBitnetError(error);
  return new BitnetError(code, `${what}: ${reasonOf(error)}`, { hint, cause: error });
}

/** Windows says the same of a file that another program has open. */
const denied = process.platform === "win32" ? "permission denied, or another program is using it" : "permission denied";

/** What the failures of the system mean. */
const systemErrors = new Map<string, { code: BitnetErrorCode; reason?: string }>([
  ["ENOENT", { code: "NOT_FOUND", reason: "no such file or directory" }],
  ["ENOTDIR", { code: "NOT_FOUND", reason: "no such directory" }],
  ["EEXIST", { code: "BAD_FILE", reason: "something of that name is there already" }],
  ["EISDIR", { code: "BAD_FILE", reason: "it is a directory" }],
  ["EACCES", { code: "NOT_FOUND", reason: denied }],
  ["EPERM", { code: "NOT_FOUND", reason: denied }],
  ["EBUSY", { code: "NOT_FOUND", reason: "another program is using it" }],
  ["EROFS", { code: "NOT_FOUND", reason: "the file system is read-only" }],
  ["ENOSPC", { code: "NO_SPACE", reason: "the disk is full" }],
  ["EDQUOT", { code: "NO_SPACE", reason: "the disk quota is used up" }],
  ["EFBIG", { code: "NO_SPACE", reason: "the file would be too large" }],
  ["ENOMEM", { code: "NO_MEMORY" }],
  ["ABORT_ERR", { code: "ABORTED" }],
]);

/** What a failure of the file system means, in words; the message of any other error. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return (code === undefined ? undefined : systemErrors.get(code)?.reason) ?? message;
}

function codeOf(error: Error): BitnetErrorCode {
  const code: unknown = (error as { code?: unknown }).code;
  if (typeof code === "string") {
    if (Object.hasOwn(statuses, code)) {
      return code as BitnetErrorCode;
    }
    const known = systemErrors.get(code);
    if (known !== undefined) {
      return known.code;
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
