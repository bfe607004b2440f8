import { describe, expect, test } from "vitest";
import {
  BitnetError,
  type BitnetErrorCode,
  converting,
  convertingAsync,
  exitStatusOf,
  httpStatusOf,
  throwIfAborted,
  toBitnetError,
  withContext,
} from "../../src/system/errors.js";

function withCode(code: string, message = "what happened"): Error {
  return Object.assign(new Error(message), { code });
}

describe("toBitnetError", () => {
  test.each([
    ["BAD_FILE", "BAD_FILE"],
    ["USAGE", "USAGE"],
    ["NO_MEMORY", "NO_MEMORY"],
    ["ENOENT", "NOT_FOUND"],
    ["EISDIR", "BAD_FILE"],
    ["EROFS", "NOT_FOUND"],
    ["ENOSPC", "NO_SPACE"],
    ["EDQUOT", "NO_SPACE"],
    ["EFBIG", "NO_SPACE"],
    ["toString", "INTERNAL"],
    ["SOMETHING", "INTERNAL"],
  ])("an error with code %s becomes %s and keeps message and cause", (code, expected) => {
    const cause = withCode(code);
    const error = toBitnetError(cause);
    expect(error).toBeInstanceOf(BitnetError);
    expect(error.code).toBe(expected);
    expect(error.message).toBe("what happened");
    expect(error.cause).toBe(cause);
  });

  test("says what a failure of the file system means, and where", () => {
    const missing = Object.assign(withCode("ENOENT", "ENOENT: no such file or directory, open 'x'"), { path: "x" });
    expect(toBitnetError(missing)).toMatchObject({ code: "NOT_FOUND", message: "x: no such file or directory" });
    const odd = Object.assign(withCode("EODD", "something odd"), { path: "x" });
    expect(toBitnetError(odd).message).toBe("x: something odd");
  });

  test("leaves a BitnetError as it is", () => {
    const error = new BitnetError("USAGE", "no", { hint: "yes" });
    expect(toBitnetError(error)).toBe(error);
  });

  test("takes what is not an Error", () => {
    expect(toBitnetError("text")).toMatchObject({ code: "INTERNAL", message: "text" });
  });

  test("knows the AbortError of the platform", () => {
    expect(toBitnetError(new DOMException("aborted", "AbortError")).code).toBe("ABORTED");
  });
});

test("both wrappers convert and pass results through", async () => {
  const fail = () => {
    throw withCode("BAD_FILE");
  };
  expect(() => converting(fail)).toThrow(BitnetError);
  await expect(convertingAsync(async () => fail())).rejects.toMatchObject({ code: "BAD_FILE" });
  expect(converting(() => 1)).toBe(1);
  expect(await convertingAsync(async () => 2)).toBe(2);
});

test("Ctrl-C is 130, every other code 1", () => {
  expect(exitStatusOf(new BitnetError("ABORTED", ""))).toBe(130);
  expect(exitStatusOf(new BitnetError("BAD_FILE", ""))).toBe(1);
  expect(exitStatusOf(new BitnetError("USAGE", ""))).toBe(1);
});

test("a server answers with the HTTP status of the code", () => {
  const statusOf = (code: BitnetErrorCode) => httpStatusOf(new BitnetError(code, ""));
  expect((["USAGE", "NOT_FOUND"] as const).map(statusOf)).toEqual([400, 404]);
  expect((["INTERNAL", "BAD_FILE", "UNSUPPORTED", "NETWORK"] as const).map(statusOf)).toEqual([500, 500, 501, 502]);
  expect((["NO_MEMORY", "NO_SPACE", "ABORTED"] as const).map(statusOf)).toEqual([503, 507, 499]);
});

test("a failure is told with what it kept from being done", () => {
  const full = Object.assign(withCode("ENOSPC", "ENOSPC: no space left on device, write"), { path: "x.partial" });
  expect(withContext("cannot save x", full)).toMatchObject({
    code: "NO_SPACE",
    message: "cannot save x: the disk is full",
    cause: full,
  });
  const refused = new BitnetError("USAGE", "it is a directory", { hint: "name a file" });
  expect(withContext("cannot save x", refused)).toMatchObject({
    code: "USAGE",
    message: "cannot save x: it is a directory",
    hint: "name a file",
  });
});

test("an aborted signal throws with its reason as the cause", () => {
  const reason = new Error("enough");
  expect(() => throwIfAborted(undefined)).not.toThrow();
  expect(() => throwIfAborted(new AbortController().signal)).not.toThrow();
  expect(() => throwIfAborted(AbortSignal.abort(reason))).toThrow(
    expect.objectContaining({ code: "ABORTED", cause: reason }),
  );
});
