// Why a connection failed, in words.

/** What codes of the system and of the HTTP client mean. */
const failures = new Map([
  ["ECONNREFUSED", "connection refused"],
  ["ECONNRESET", "the connection was reset"],
  ["EPIPE", "the connection was closed"],
  ["ENOTFOUND", "no server of that name"],
  ["EAI_AGAIN", "names cannot be looked up: is there a network?"],
  ["ENETUNREACH", "there is no network"],
  ["ENETDOWN", "there is no network"],
  ["EHOSTUNREACH", "there is no way to it"],
  ["ETIMEDOUT", "no answer"],
  ["UND_ERR_CONNECT_TIMEOUT", "no answer"],
  ["UND_ERR_HEADERS_TIMEOUT", "no answer"],
  ["UND_ERR_BODY_TIMEOUT", "no more data"],
  ["UND_ERR_SOCKET", "the connection was closed"],
  ["UND_ERR_RESPONSE_STATUS_CODE", "an unexpected answer"],
]);

/** Certificates that are not trusted: what no retry changes. */
const certificateFailures = new Map([
  ["CERT_HAS_EXPIRED", "it has expired"],
  ["CERT_NOT_YET_VALID", "it is not valid yet"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "it is signed by itself"],
  ["SELF_SIGNED_CERT_IN_CHAIN", "it is signed by nobody known"],
  ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "it is signed by nobody known"],
  ["UNABLE_TO_GET_ISSUER_CERT", "it is signed by nobody known"],
  ["UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "it is signed by nobody known"],
  ["ERR_TLS_CERT_ALTNAME_INVALID", "it is for another name"],
]);

/** The innermost cause in words, as fetch itself only says "fetch failed"; else its message or code. */
export function describeFailure(error: unknown): string {
  const { code, message } = innermost(error) as { code?: unknown; message?: unknown };
  return failures.get(String(code)) ?? (message ? String(message) : String(code));
}

/** What is wrong with the certificate; undefined for any other failure. */
export function certificateFailure(error: unknown): string | undefined {
  const { code } = innermost(error) as { code?: unknown };
  return certificateFailures.get(String(code));
}

function innermost(error: unknown): unknown {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) {
    inner = inner.cause;
  }
  return inner;
}
