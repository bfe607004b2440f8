// Runs the repository's tests against an installed package instead of src/:
// `BITNET_INSTALLED=FOLDER/node_modules/bitnet-cli npx vitest run -c scripts/installed.vitest.mjs test/serve`.

import { dirname, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { mergeConfig } from "vitest/config";
import standard from "../vitest.config.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const source = join(root, "src") + sep;
const installed = process.env.BITNET_INSTALLED;
if (installed === undefined) {
  throw new Error("BITNET_INSTALLED must name the folder of an installed package");
}

export default mergeConfig(standard, {
  root,
  plugins: [
    {
      name: "installed-package",
      enforce: "pre",
      /** A file of src/ is the script that was made of it. */
      resolveId(name, importer) {
        const path = importer === undefined || !name.startsWith(".") ? "" : resolve(dirname(importer), name);
        return path.startsWith(source) && !path.startsWith(join(source, "ui"))
          ? join(resolve(installed), "dist", path.slice(source.length))
          : undefined;
      },
    },
  ],
});
