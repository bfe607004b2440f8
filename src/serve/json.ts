// JSON from outside.

import { isNestedDeeper } from "../system/nesting.js";
import { ApiError } from "./errors.js";

const maxDepth = 64;

/** The value of a body; 400 for what is no JSON or too deep. An empty body is undefined. */
export function parseBody(body: Buffer): unknown {
  if (body.length === 0) {
    return undefined;
  }
  if (isNestedDeeper(body, maxDepth)) {
    throw new ApiError("invalid_request_error", `the body is nested more than ${maxDepth} levels deep`, {
      code: "invalid_json",
    });
  }
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
