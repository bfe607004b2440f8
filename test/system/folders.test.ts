import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import {
  cacheFolder,
  expandHome,
  findModelsFolder,
  hubFolder,
  modelsFolders,
  shortenHome,
  stateFolder,
} from "../../src/system/folders.js";

test.each([
  [cacheFolder, {}, join(homedir(), ".cache", "bitnet")],
  [cacheFolder, { XDG_CACHE_HOME: "/cache" }, "/cache/bitnet"],
  [cacheFolder, { XDG_CACHE_HOME: "" }, join(homedir(), ".cache", "bitnet")],
  [stateFolder, {}, join(homedir(), ".bitnet")],
  [stateFolder, { XDG_STATE_HOME: "/state" }, "/state/bitnet"],
  [hubFolder, {}, join(homedir(), ".cache", "huggingface")],
  [hubFolder, { XDG_CACHE_HOME: "/cache" }, "/cache/huggingface"],
  [hubFolder, { XDG_CACHE_HOME: "/cache", HF_HOME: "~/hf" }, join(homedir(), "hf")],
  [findModelsFolder, {}, join(homedir(), ".local", "share", "bitnet", "models")],
  [findModelsFolder, { XDG_DATA_HOME: "/data" }, "/data/bitnet/models"],
  [findModelsFolder, { XDG_DATA_HOME: "/data", BITNET_MODELS: "~/m" }, join(homedir(), "m")],
  [findModelsFolder, { BITNET_MODELS: "m" }, resolve("m")],
])("%o with %j is %s", (folder, env, expected) => {
  expect(folder(env)).toBe(expected);
});

test("models are looked for in the user's folder and in models/ of the current one, each once", () => {
  expect(modelsFolders({ BITNET_MODELS: "/m" })).toEqual(["/m", resolve("models")]);
  expect(modelsFolders({ BITNET_MODELS: "models" })).toEqual([resolve("models")]);
});

test("~ is the home folder, at the beginning of a path only", () => {
  expect(expandHome("~")).toBe(homedir());
  expect(expandHome("~/a")).toBe(join(homedir(), "a"));
  expect(expandHome("~user/a")).toBe("~user/a");
  expect(expandHome("/a/~")).toBe("/a/~");
});

test("a path below the home folder is shortened, one that only begins alike is not", () => {
  expect(shortenHome(homedir())).toBe("~");
  expect(shortenHome(join(homedir(), "a", "b"))).toBe(join("~", "a", "b"));
  expect(shortenHome(`${homedir()}-of-another/a`)).toBe(`${homedir()}-of-another/a`);
});
