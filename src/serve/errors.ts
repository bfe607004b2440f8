// What a request that cannot be answered gets: a status, and words that clients of OpenAI's interface understand.

import { BitnetError, httpStatusOf, toBitnetError } from "../system/errors.js";

/** The kinds of errors, and the status of each where nothing else is said. */
const statusOfType = {
  invalid_request_error: 400,
  exceed_context_size_error: 400,
  authentication_error: 401,
  permission_error: 403,
  not_found_error: 404,
  rate_limit_error: 429,
  server_error: 500,
  not_supported_error: 501,
  unavailable_error: 503,
  timeout_error: 504,
} as const;

export type ErrorType = keyof typeof statusOfType;

export interface ErrorDetails {
  /** Machine-readable reason: "invalid_value", "queue_full". */
  code?: string;
  /** The field that is wrong: "messages[0].role". */
  param?: string;
  /** Where it is not that of the type. */
  status?: number;
  /** More fields of the error object. */
  fields?: Readonly<Record<string, unknown>>;
  /** Seconds after which it may be tried again, for 429 and 503. */
  retryAfter?: number;
  /** Of a path that knows other methods: these. */
  allow?: readonly string[];
  /** false: to try again is of no use. */
  shouldRetry?: boolean;
  cause?: unknown;
}

/** An answer that is an error. Its message is for the client: no path, no stack, nothing of other clients. */
export class ApiError extends Error {
  readonly type: ErrorType;
  readonly status: number;
  readonly details: ErrorDetails;

  constructor(type: ErrorType, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.name = "ApiError";
    this.type = type;
    this.status = details.status ?? statusOfType[type];
    this.details = details;
  }

  /** The `error` of an answer in OpenAI's form. */
  get body(): Record<string, unknown> {
    const { code = null, param = null, fields = {} } = this.details;
    return { message: this.message, type: this.type, param, code, ...fields };
  }

  get headers(): Record<string, string> {
    const { retryAfter, shouldRetry, allow } = this.details;
    return {
      ...(allow === undefined ? {} : { allow: allow.join(", ") }),
      ...(retryAfter === undefined
        ? {}
        : { "retry-after": String(Math.ceil(retryAfter)), "retry-after-ms": String(Math.ceil(retryAfter * 1000)) }),
      ...(shouldRetry === undefined ? {} : { "x-should-retry": String(shouldRetry) }),
    };
  }
}

/** A field with a value that cannot be. */
export function invalid(param: string, message: string, code = "invalid_value"): ApiError {
  return new ApiError("invalid_request_error", `${param}: ${message}`, { code, param });
}

/** A field that would change the answer and cannot be honoured. */
export function unsupported(param: string, message: string): ApiError {
  return invalid(param, message, "unsupported_parameter");
}

export function contextExceeded(promptTokens: number, contextSize: number): ApiError {
  return new ApiError(
    "exceed_context_size_error",
    `the request exceeds the available context size: this model's maximum context length is ${contextSize} tokens, ` +
      `but the prompt has ${promptTokens}`,
    {
      code: "context_length_exceeded",
      fields: { n_prompt_tokens: promptTokens, n_ctx: contextSize },
      shouldRetry: false,
    },
  );
}

export function unavailable(code: string, message: string, retryAfter = 1): ApiError {
  return new ApiError("unavailable_error", message, { code, retryAfter });
}

/**
 * Whatever was thrown as an answer. What the library says about a request's own values goes to the client; of other
 * failures it learns that there was one.
 */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) {
    return error;
  }
  const framework = fromFramework(error);
  if (framework !== undefined) {
    return framework;
  }
  const known = error instanceof BitnetError ? error : toBitnetError(error);
  const hint = known.hint === undefined ? "" : ` (${known.hint})`;
  switch (known.code) {
    case "USAGE":
      return new ApiError("invalid_request_error", known.message + hint, { code: "invalid_value", cause: error });
    case "UNSUPPORTED":
      return new ApiError("not_supported_error", known.message + hint, { code: "not_supported", cause: error });
    case "NO_MEMORY":
      return new ApiError("unavailable_error", "the server is out of memory for this request", {
        code: "no_memory",
        retryAfter: 1,
        cause: error,
      });
    default:
      return new ApiError("server_error", "the server failed to answer this request", {
        status: known.code === "ABORTED" ? httpStatusOf(known) : undefined,
        code: known.code === "ABORTED" ? "client_closed_request" : "internal_error",
        cause: error,
      });
  }
}

/** Failures that the HTTP framework finds before a route is reached. */
function fromFramework(error: unknown): ApiError | undefined {
  const { code, statusCode, message } = error as { code?: string; statusCode?: number; message?: string };
  if (typeof code !== "string" || !code.startsWith("FST_") || statusCode === undefined || statusCode >= 500) {
    return undefined;
  }
  const details = { status: statusCode, code: frameworkCodes.get(code) ?? "invalid_request", shouldRetry: false };
  return new ApiError("invalid_request_error", message ?? "the request cannot be read", { ...details, cause: error });
}

const frameworkCodes = new Map([
  ["FST_ERR_CTP_BODY_TOO_LARGE", "body_too_large"],
  ["FST_ERR_CTP_INVALID_MEDIA_TYPE", "unsupported_media_type"],
]);
