// JSON from outside. Deep nesting is counted on the bytes first: parsed, a few MB of brackets hold the process up for a
// second, and whoever walks or writes the value later runs out of stack.

import { ApiError } from "./errors.js";

const maxDepth = 64;

const quote = 0x22;
const backslash = 0x5c;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** The value of a body; 400 for what is no JSON or too deep. An empty body is undefined. */
export function parseBody(body: Buffer): unknown {
  if (body.length === 0) {
    return undefined;
  }
  checkDepth(body);
  try {
    return JSON.parse(body.toString("utf8"));
  } catch (error) {
    const reason = (error as Error).message.replace(/[^\x20-\x7e]/g, "?").slice(0, 120);
    throw new ApiError("invalid_request_error", `the body is not JSON: ${reason}`, {
      code: "invalid_json",
      cause: error,
    });
  }
}

function checkDepth(body: Buffer): void {
  let depth = 0;
  let inText = false;
  for (let i = 0; i < body.length; i++) {
    const byte = body[i];
    if (inText) {
      if (byte === backslash) {
        i++;
      } else if (byte === quote) {
        inText = false;
      }
    } else if (byte === quote) {
      inText = true;
    } else if (byte === openBracket || byte === openBrace) {
      if (++depth > maxDepth) {
        throw new ApiError("invalid_request_error", `the body is nested more than ${maxDepth} levels deep`, {
          code: "invalid_json",
        });
      }
    } else if (byte === closeBracket || byte === closeBrace) {
      depth--;
    }
  }
}
