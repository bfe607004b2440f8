// Options of getting models from a program: an unknown name is refused before anything is asked or written.

import { expect, test } from "vitest";
import {
  convertCheckpoint,
  downloadCheckpoint,
  downloadFiles,
  generateDummy,
  listModels,
  openHub,
  removeModels,
  setupModel,
} from "../../src/index.js";

test.each([
  ["setupModel", () => setupModel({ modeldir: "/nowhere" } as never), "modeldir", "did you mean modelDir?"],
  ["downloadCheckpoint", () => downloadCheckpoint("a/b", { forced: true } as never), "forced", "did you mean force?"],
  [
    "downloadFiles",
    () => downloadFiles({} as never, {} as never, { file: [] } as never),
    "file",
    "did you mean files?",
  ],
  [
    "openHub",
    () => openHub({ proxy: "" } as never),
    "proxy",
    "its options: environment, fetch, retry, onNote, onRetry",
  ],
  ["listModels", () => listModels({ cachedir: "/nowhere" } as never), "cachedir", "did you mean cacheDir?"],
  ["removeModels", () => removeModels([], { modeldir: "" } as never), "modeldir", "did you mean modelDir?"],
  [
    "convertCheckpoint",
    () => convertCheckpoint({ source: "/nowhere", outfile: "/nowhere", outtype: "i2_s", vocab: true } as never),
    "vocab",
    expect.stringMatching(/^(did you mean|its options: source, outfile)/),
  ],
  ["generateDummy", () => generateDummy({ outfile: "/nowhere", sise: "125M" } as never), "sise", "did you mean size?"],
])("%s refuses an option that it does not have", async (name, call, option, hint) => {
  await expect(call()).rejects.toMatchObject({ code: "USAGE", message: `${name} has no option "${option}"`, hint });
});
