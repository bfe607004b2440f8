// Builds the web page of `bitnet serve` into dist/ui.

import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const fromRoot = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: fromRoot("src/ui"),
  // Relative addresses: the page works under any --api-prefix.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: fromRoot("dist/ui"),
    emptyOutDir: true,
    target: ["chrome123", "edge123", "firefox125", "safari17.5"],
    // The content security policy allows neither data: addresses nor scripts within the document.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { page: fromRoot("src/ui/index.html"), offline: fromRoot("src/ui/offline.ts") },
      output: {
        // A service worker's address must not change.
        entryFileNames: ({ name }) => (name === "offline" ? "offline.js" : "assets/[name]-[hash].js"),
      },
    },
  },
});
