// A model file that is cut while it is in use: one line and status 1, never a bare bus error.

import { spawn } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { withFolder } from "../support/checkpoints.js";
import { root, tinyModel } from "../support/fixtures.js";

interface Ended {
  status: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}

/** Runs a script of a module that has loaded `model`, and tells how the process ended. */
function runScript(model: string, script: string): Promise<Ended> {
  const library = JSON.stringify(pathToFileURL(join(root, "dist", "index.js")).href);
  const text = `import { convertCheckpoint, loadModel, openGguf } from ${library};
    import { truncateSync } from "node:fs";
    const path = ${JSON.stringify(model)};
    ${script}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", text], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (more: string) => {
    stderr += more;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, stderr }));
  });
}

describe.skipIf(process.platform === "win32")("a mapped file that is cut", () => {
  test("ends the process with a line that names it, in the middle of a chat or of a look", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "model.gguf");
      const line = `error: ${path}: the file was cut or overwritten while it was in use\n`;
      for (const script of [
        `const model = await loadModel(path, { inPlace: true });
         const session = model.createSession();
         truncateSync(path, 4096);
         await session.complete("Once upon a time", { maxTokens: 8 });`,
        `const gguf = openGguf(path);
         truncateSync(path, 0);
         gguf.metadataArray("tokenizer.ggml.tokens");`,
      ]) {
        copyFileSync(tinyModel, path);
        const { status, signal, stderr } = await runScript(path, script);
        expect({ status, signal }).toEqual({ status: 1, signal: null });
        expect(stderr).toBe(`\n${line}`);
      }
    });
  });

  test("leaves no half-written file of a conversion", async () => {
    await withFolder(async (folder) => {
      const [path, outfile] = [join(folder, "model.gguf"), join(folder, "out.gguf")];
      copyFileSync(tinyModel, path);
      const { status, stderr } = await runScript(
        path,
        `await convertCheckpoint({ source: path, outfile: ${JSON.stringify(outfile)}, outtype: "f32",
           onProgress: () => truncateSync(path, 4096) });`,
      );
      // The first progress is told when everything is read, unless the machine is slow.
      expect([0, 1]).toContain(status);
      expect(existsSync(outfile)).toBe(status === 0);
      expect(readdirSync(folder).filter((name) => name.endsWith(".partial"))).toEqual([]);
      expect(stderr).toContain(status === 0 ? "" : path);
    });
  });

  test("a bus error of somebody else ends the process as before", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "model.gguf");
      copyFileSync(tinyModel, path);
      const script = `const model = await loadModel(path); process.kill(process.pid, "SIGBUS"); setInterval(() => {}, 1000);`;
      expect(await runScript(path, script)).toMatchObject({ status: null, signal: "SIGBUS", stderr: "" });
      truncateSync(path, 0);
    });
  });
});
