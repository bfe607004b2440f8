// The ways to install and to use the package that test-installs.mjs tries. Of each: name, the version of Node if not the
// running one, tools (packages that are programs), `install`, which returns the folder that is measured, and `check`,
// which returns a note.

import { readFileSync } from "node:fs";

// What the bundled model is known to say, by its own record.
const golden = JSON.parse(readFileSync(new URL("../models/tiny-bitnet.golden.json", import.meta.url), "utf8"));
const text = golden.prompt + golden.text.split(" ").slice(0, 4).join(" "); // three words
/** A version that is published beside the right one. */
export const other = "0.0.9";

const prompt = `-p "${golden.prompt}" -n 12 -temp 0 --quiet`;

function expectText(out) {
  if (!out.includes(text)) {
    throw new Error(`the text is ${JSON.stringify(out)} and not ${JSON.stringify(text)}`);
  }
}

/** One line that says what is wrong, one that says what to do, and no stack. */
function expectError(out, ...parts) {
  const lines = out.split("\n").filter((line) => line !== "" && !/^npm /.test(line));
  const missing = parts.filter((part) => !out.includes(part));
  if (!lines[0]?.startsWith("error: ") || !lines[1]?.startsWith("hint: ") || lines.length > 2 || missing.length > 0) {
    throw new Error(`not an error of two lines with ${missing.join(", ") || "a hint"}:\n${out}`);
  }
  return `${lines[0]}`;
}

const manifest = JSON.stringify({ name: "project", version: "1.0.0", private: true, type: "module" });
const npmInstall = ({ sh, write, version }, flags = "") => {
  write("package.json", manifest);
  sh(`npm install ${flags} bitnet-cli@${version}`);
  return "project/node_modules";
};
const runInstalled = ({ sh }, env = {}) => expectText(sh(`node_modules/.bin/bitnet run ${prompt}`, { env }));

const library = `
import { loadModel } from "bitnet-cli";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
const folder = process.argv[2] ?? dirname(createRequire(import.meta.url).resolve("bitnet-cli/package.json"));
const model = await loadModel(join(folder, "models/tiny-bitnet.gguf"));
const session = model.createSession({ contextSize: 256 });
let text = ${JSON.stringify(golden.prompt)};
for await (const piece of session.generate(text, { maxTokens: 12, temperature: 0 })) text += piece.text;
console.log(text);
await session.close();
await model.close();
`;

const commonJs = `
const { loadModel } = require("bitnet-cli");
const { startServer } = require("bitnet-cli/serve");
if (typeof loadModel !== "function" || typeof startServer !== "function") throw new Error("no functions");
import("bitnet-cli").then((m) => { if (m.loadModel !== loadModel) throw new Error("two instances"); console.log("one"); });
`;

const server = `
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { startServer } from "bitnet-cli/serve";
const folder = dirname(createRequire(import.meta.url).resolve("bitnet-cli/package.json"));
const server = await startServer({ modelPath: join(folder, "models/tiny-bitnet.gguf"), port: 0 });
await server.ready;
const page = await fetch(server.urls[0]);
if (!page.ok || !(await page.text()).includes("<html")) throw new Error("no page: " + page.status);
const metrics = await fetch(server.urls[0] + "/metrics");
if (!(await metrics.text()).includes("# HELP")) throw new Error("no metrics");
const answer = await fetch(server.urls[0] + "/v1/chat/completions", {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ messages: [{ role: "user", content: "Hello" }], max_tokens: 4, stream: true }),
});
if (!(await answer.text()).endsWith("data: [DONE]\\n\\n")) throw new Error("no stream");
await server.close();
console.log("served");
`;

const worker = `
import { Worker } from "node:worker_threads";
const threads = [1, 2].map(() => new Worker(new URL("library.mjs", import.meta.url), { stdout: true }));
const texts = await Promise.all(threads.map(async (thread) => {
  let all = "";
  for await (const part of thread.stdout) all += part;
  return all;
}));
console.log(texts.join(""));
`;

const typed = `
import { type Generation, loadModel, type Session } from "bitnet-cli";
import { type ServeOptions, startServer } from "bitnet-cli/serve";
export async function use(options: ServeOptions, items: Generation<number, string>): Promise<string> {
  const model = await loadModel("model.gguf");
  const session: Session = model.createSession({ contextSize: 256 });
  // @ts-expect-error: nothing is any
  session.nonsense();
  await (await startServer(options)).close();
  for await (const item of items) item.toFixed();
  return model.info.name ?? "";
}
`;

function compileTypes({ sh, write, fetchTool, linkTool }) {
  linkTool(`${fetchTool("typescript@5")}/bin/tsc`, "tsc");
  const types = fetchTool("@types/node@22");
  write("use.mts", typed);
  write("use.cts", typed);
  write("old/package.json", "{}");
  write("old/use.ts", typed);
  const common = `--noEmit --strict --target es2022 --lib es2023,esnext.disposable --types node --typeRoots ${types}/..`;
  for (const module of ["node16", "nodenext"]) {
    sh(`tsc ${common} --module ${module} use.mts use.cts`);
  }
  sh(`tsc ${common} --module esnext --moduleResolution bundler use.mts`);
  sh(`tsc ${common} --module commonjs --moduleResolution node10 --esModuleInterop old/use.ts`);
  return "ESM and CommonJS: node16, nodenext, bundler, node10";
}

/** The bundle lies elsewhere, with nothing around it but what stays external. */
function bundleWith({ sh, write }, command, external) {
  write("library.mjs", library);
  const apart = external ? ["bitnet-cli"] : ["bullmq", "ioredis", "@opentelemetry/api"];
  sh(`${command} ${apart.map((name) => `--external:${name}`).join(" ")}`);
  return external
    ? expectText(sh("node out/library.mjs"))
    : sh("node out/library.mjs node_modules/bitnet-cli", { fails: true });
}

const esbuild = "esbuild library.mjs --bundle --platform=node --format=esm --outfile=out/library.mjs --log-level=error";

export const cases = [
  ...[
    ["npm@10", undefined],
    ["npm@11", undefined],
    ["npm@12", "24"],
  ].flatMap(([npm, node]) => [
    {
      name: `npx (${npm})`,
      node,
      tools: [npm],
      install({ sh, version }) {
        expectText(sh(`npx --yes bitnet-cli@${version} run ${prompt}`));
        return ".npm/_npx";
      },
      check: ({ sh, version }) => expectText(sh(`npx --yes bitnet-cli@${version} run ${prompt}`)),
    },
    {
      name: `npm i -g (${npm})`,
      node,
      tools: [npm],
      install({ sh, home, version }) {
        sh(`npm install -g --prefix "${home}/global" bitnet-cli@${version}`);
        return "global/lib";
      },
      check: ({ sh, home }) => expectText(sh(`"${home}/global/bin/bitnet" run ${prompt}`)),
    },
  ]),
  {
    name: "npm, --ignore-scripts",
    tools: ["npm@11"],
    install: (s) => npmInstall(s, "--ignore-scripts"),
    check: runInstalled,
  },
  {
    name: "npm, --omit=optional",
    tools: ["npm@11"],
    install: (s) => npmInstall(s, "--omit=optional"),
    check: ({ sh }) => expectError(sh(`node_modules/.bin/bitnet run ${prompt} 2>&1`, { fails: true }), "@bitnet-cli/"),
  },
  {
    name: "npm, offline from a cache",
    tools: ["npm@11"],
    install(s) {
      npmInstall(s);
      s.sh("rm -rf node_modules");
      s.sh("npm ci --offline", { env: { npm_config_registry: "http://127.0.0.1:9/" } });
      return "project/node_modules";
    },
    check: runInstalled,
  },
  {
    name: "read-only node_modules and home",
    tools: ["npm@11"],
    install: (s) => npmInstall(s),
    check(s) {
      s.asCaller("chmod", "-R", "a-w", s.home);
      try {
        runInstalled(s);
      } finally {
        s.asCaller("chmod", "-R", "u+w", s.home);
      }
    },
  },
  {
    name: "a path with spaces and umlauts",
    tools: ["npm@11"],
    folder: "ein Ordner mit Ümläuten",
    install: spaced,
    check: runInstalled,
  },
  {
    name: "library: import, require, server, threads",
    tools: ["npm@11"],
    install: (s) => npmInstall(s),
    check({ sh, write }) {
      write("library.mjs", library);
      write("common.cjs", commonJs);
      write("server.mjs", server);
      write("worker.mjs", worker);
      expectText(sh("node library.mjs"));
      sh("node common.cjs");
      sh("node server.mjs");
      const both = sh("node worker.mjs");
      if (both.split(text).length !== 3) {
        throw new Error(`two threads wrote ${both}`);
      }
    },
  },
  { name: "TypeScript", tools: ["npm@11"], install: (s) => npmInstall(s), check: compileTypes },
  {
    name: "two versions, one after the other",
    tools: ["npm@11"],
    install({ sh, home, version }) {
      const install = (which) => sh(`npm install -g --prefix "${home}/global" bitnet-cli@${which}`);
      const expectVersion = (which) => {
        const found = sh(`"${home}/global/bin/bitnet" --version`).trim();
        if (found !== which) {
          throw new Error(`${found} and not ${which}`);
        }
        expectText(sh(`"${home}/global/bin/bitnet" run ${prompt}`));
      };
      for (const which of [other, version, other]) {
        install(which);
        expectVersion(which);
      }
      return "global/lib";
    },
  },
  {
    name: "two versions, side by side",
    tools: ["npm@11"],
    install({ sh, write, version }) {
      write("package.json", manifest);
      sh(`npm install bitnet-cli@${version} old@npm:bitnet-cli@${other}`);
      return "project/node_modules";
    },
    check({ sh }) {
      for (const name of ["bitnet-cli", "old"]) {
        expectText(sh(`node node_modules/${name}/bin/bitnet.js run ${prompt}`));
      }
    },
  },
  ...["20", "22", "24", "26"].map((node) => ({
    name: `Node ${node}`,
    node,
    tools: ["npm@11"],
    install: (s) => npmInstall(s),
    check: runInstalled,
  })),
  {
    name: "Node 18",
    node: "18",
    tools: ["npm@10"],
    install: (s) => npmInstall(s),
    check: ({ sh }) => expectError(sh(`node_modules/.bin/bitnet run ${prompt} 2>&1`, { fails: true }), "Node 20.17"),
  },
  {
    name: "pnpm",
    tools: ["pnpm@12"],
    install({ sh, write, version }) {
      write("package.json", manifest);
      sh(`pnpm add bitnet-cli@${version}`);
      return "project/node_modules";
    },
    check: ({ sh }) => expectText(sh(`pnpm exec bitnet run ${prompt}`)),
  },
  {
    name: "yarn 1",
    tools: ["yarn@1"],
    install({ sh, write, version, registry }) {
      write("package.json", manifest);
      write(".yarnrc", `registry "${registry}"\n`);
      sh(`yarn add bitnet-cli@${version}`);
      return "project/node_modules";
    },
    check: ({ sh }) => expectText(sh(`yarn --silent bitnet run ${prompt}`)),
  },
  ...["pnp", "node-modules"].map((linker) => ({
    name: `yarn 4, ${linker}`,
    tools: ["@yarnpkg/cli-dist@4"],
    install({ sh, write, version, registry }) {
      write("package.json", manifest);
      write("yarn.lock", "");
      const settings = [
        `npmRegistryServer: "${registry}"`,
        'unsafeHttpWhitelist: ["127.0.0.1"]',
        "enableTelemetry: false",
      ];
      // Yarn waits for packages to be some days old.
      write(".yarnrc.yml", `${[...settings, `nodeLinker: ${linker}`, "npmMinimalAgeGate: 0"].join("\n")}\n`);
      sh(`yarn add bitnet-cli@${version}`);
      return linker === "pnp" ? "." : "project/node_modules";
    },
    check({ sh, write }) {
      expectText(sh(`yarn bitnet run ${prompt}`));
      write("library.mjs", library);
      expectText(sh("yarn node library.mjs"));
    },
  })),
  {
    name: "Bun",
    tools: ["@oven/bun-linux-x64:bin/bun"],
    install({ sh, write, version }) {
      write("package.json", manifest);
      sh(`bun add bitnet-cli@${version}`);
      return "project/node_modules";
    },
    check({ sh, write }) {
      expectText(sh(`bun --bun node_modules/bitnet-cli/bin/bitnet.js run ${prompt}`));
      write("library.mjs", library);
      expectText(sh("bun library.mjs"));
    },
  },
  {
    name: "Deno",
    tools: ["@deno/linux-x64-glibc:deno"],
    install({ sh, write, version }) {
      write("deno.json", "{}");
      sh('cp "$HOME/.npmrc" .');
      sh(`deno add --minimum-dependency-age=0 npm:bitnet-cli@${version}`, { env: { DENO_DIR: "deno" } });
      return "project";
    },
    check({ sh, version }) {
      const env = { DENO_DIR: "deno" };
      expectText(sh(`deno run -A --minimum-dependency-age=0 npm:bitnet-cli@${version}/bitnet run ${prompt}`, { env }));
    },
  },
  {
    name: "esbuild, external",
    tools: ["npm@11", "esbuild@0"],
    install: (s) => npmInstall(s),
    check: (s) => bundleWith(s, esbuild, true),
  },
  {
    name: "esbuild, bundled in",
    tools: ["npm@11", "esbuild@0"],
    install: (s) => npmInstall(s),
    check: (s) =>
      bundleWith(s, esbuild, false)
        .trim()
        .split("\n")
        .find((line) => line.startsWith("BitnetError")),
  },
  {
    name: "vite, for the server",
    tools: ["npm@11"],
    install: (s) => npmInstall(s),
    check(s) {
      s.linkTool(`${s.root}/node_modules/vite/bin/vite.js`, "vite");
      s.write("library.mjs", library);
      s.sh("vite build --ssr library.mjs --outDir out --logLevel error");
      expectText(s.sh("node out/library.js"));
    },
  },
];

function spaced(setting) {
  npmInstall(setting);
  return "ein Ordner mit Ümläuten/node_modules";
}
