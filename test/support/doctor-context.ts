// What checks of the doctor look at, and machines made of files.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Context } from "../../src/doctor/check.js";
import { SystemFiles } from "../../src/doctor/system-files.js";
import { bundledModel } from "../../src/models/bundled.js";
import { loadAddon, type NativeAddon } from "../../src/native/addon.js";

/** This machine without an environment, and with nothing but the bundled model; `root`: whose /proc and /sys are seen. */
export function contextOf(root: string, given: Partial<Context> = {}): Context {
  return {
    native: loadAddon(),
    files: new SystemFiles(root),
    env: { BITNET_TUNING: "none" },
    platform: "linux",
    model: bundledModel.path,
    quick: true,
    online: false,
    variables: [],
    settingsFiles: [],
    onStep: () => {},
    ...given,
  };
}

export function writeFiles(root: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

/** The native part of this machine, as if its processor were another one. */
export function addonWith(changes: Partial<NativeAddon>): NativeAddon {
  return { ...loadAddon(), ...changes };
}
