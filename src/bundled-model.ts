// The demonstration model that comes with the package.

import { fileURLToPath } from "node:url";

export const bundledModel = {
  path: fileURLToPath(new URL("../models/tiny-bitnet.gguf", import.meta.url)),
  /** It was trained on short stories that often begin so. */
  prompt: "Once upon a time",
  /** Its stories hold together best when the likeliest token is always taken. */
  temperature: 0,
  note:
    "using the bundled demonstration model (3.7M parameters, simple stories only). To get a real one (1.2 GB): " +
    "bitnet setup-env -hr microsoft/BitNet-b1.58-2B-4T",
};
