// The demonstration model that comes with the package.

import { join } from "node:path";
import { packageRoot } from "../system/package.js";

export const bundledModel = {
  path: join(packageRoot, "models", "tiny-bitnet.gguf"),
  /** It was trained on short stories that often begin so. */
  prompt: "Once upon a time",
  /** Its stories hold together best when the likeliest token is always taken. */
  temperature: 0,
  note: "using the bundled demonstration model, for simple stories; bitnet run 2b gets a real one (1.2 GB)",
};
