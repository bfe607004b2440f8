import { homedir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { cacheFolder, expandHome, hubFolder, stateFolder } from "../../src/system/folders.js";

test.each([
  [cacheFolder, {}, join(homedir(), ".cache", "bitnet")],
  [cacheFolder, { XDG_CACHE_HOME: "/cache" }, "/cache/bitnet"],
  [cacheFolder, { XDG_CACHE_HOME: "" }, join(homedir(), ".cache", "bitnet")],
  [stateFolder, {}, join(homedir(), ".bitnet")],
  [stateFolder, { XDG_STATE_HOME: "/state" }, "/state/bitnet"],
  [hubFolder, {}, join(homedir(), ".cache", "huggingface")],
  [hubFolder, { XDG_CACHE_HOME: "/cache" }, "/cache/huggingface"],
  [hubFolder, { XDG_CACHE_HOME: "/cache", HF_HOME: "~/hf" }, join(homedir(), "hf")],
])("%o with %j is %s", (folder, env, expected) => {
  expect(folder(env)).toBe(expected);
});

test("~ is the home folder, at the beginning of a path only", () => {
  expect(expandHome("~")).toBe(homedir());
  expect(expandHome("~/a")).toBe(join(homedir(), "a"));
  expect(expandHome("~user/a")).toBe("~user/a");
  expect(expandHome("/a/~")).toBe("/a/~");
});
