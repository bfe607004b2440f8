// What the README says is true: its commands run, its table has options of `bitnet run`, and its examples of the
// library run, as do those of the library's page.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeHub } from "../support/fake-hub.js";
import { root, runBitnet, tinyModel } from "../support/fixtures.js";
import { prepareTraining, shortTraining } from "../support/training.js";

const readme = readFileSync(join(root, "README.md"), "utf8");
const shell = [...readme.matchAll(/```sh\n(.*?)```/gs)].flatMap(([, block = ""]) => block.trim().split("\n"));
const commands = shell.flatMap(
  (line) => /(?:^|&& )(?:bitnet|node bin\/bitnet\.js) (.*?)(?: +#.*)?$/.exec(line)?.[1] ?? [],
);

const folder = mkdtempSync(join(tmpdir(), "bitnet-readme-"));
let hub: FakeHub;
beforeAll(async () => {
  hub = await FakeHub.start();
  const files = { "ggml-model-i2_s.gguf": readFileSync(tinyModel) };
  hub.repositories.set("microsoft/BitNet-b1.58-2B-4T", { files });
  prepareTraining(folder);
});
afterAll(async () => {
  await hub.stop();
  rmSync(folder, { recursive: true });
});

/** The words of a command line, with the bundled model and the folder of this test for its files. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain = ""]) => {
    if (plain.endsWith(".gguf")) {
      return tinyModel;
    }
    return quoted ?? (/\.(f32|jsonl|json)$|^my-/.test(plain) ? join(folder, plain) : plain);
  });
}

/** Where the questions of tasks are, which a user's machine gets from the hub. */
function localQuestions(line: string): string[] {
  const tasks = / -t (\S+)/.exec(line)?.[1]?.split(",") ?? [];
  const files: Record<string, string> = { arc_easy: "arc.jsonl", boolq: "boolq.jsonl" };
  const local = tasks.flatMap((task) => [
    "--data",
    `${task}=${join(root, "test/fixtures/eval/tasks", files[task] ?? "")}`,
  ]);
  return [...local, "--output-path", join(folder, "results")];
}

test("the README has commands", () => {
  expect(commands.length).toBeGreaterThanOrEqual(6);
});

test.each(commands)("bitnet %s", async (line) => {
  const folders = line.startsWith("setup-env") ? ["-ld", join(folder, "logs")] : [];
  const env = {
    BITNET_MODELS: join(folder, "models"),
    HF_ENDPOINT: hub.url,
    HF_HOME: folder,
    HF_HUB_CACHE: "",
    HF_HUB_OFFLINE: "",
    XDG_CACHE_HOME: folder,
    ...shortTraining,
    no_proxy: "127.0.0.1",
  };
  // A server says that it is ready, and is told to end.
  const isServer = line.startsWith("serve");
  const more = isServer ? ["--port", "0", "--json"] : line.startsWith("eval tasks") ? localQuestions(line) : folders;
  const onOutput = isServer ? (kill: (signal: NodeJS.Signals) => void) => kill("SIGTERM") : undefined;
  const { status, stderr } = await runBitnet([...words(line), ...more], { env, onOutput });
  expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringContaining("error:") });
});

describe("the table of options", () => {
  test("has options of bitnet run alone", async () => {
    const { stdout } = await runBitnet(["run", "--help"]);
    const real = [...stdout.matchAll(/^ {2,6}(?:-[\w-]+, )*(--[a-z-]+)/gm)].map(([, name]) => name);
    const rows = readme.split("\n").filter((line) => line.startsWith("| `-"));
    const told = rows.flatMap((row) => row.split("|")[1]?.match(/--[a-z-]+/g) ?? []);
    const spelled = told.map((name) => (name === "--temperature" ? "--temp" : name));
    expect(spelled.length).toBeGreaterThan(5);
    expect(real).toEqual(expect.arrayContaining(spelled));
  });
});

const examples = ["README.md", "docs/library.md", "docs/tools.md"].flatMap((document) =>
  [...readFileSync(join(root, document), "utf8").matchAll(/```ts\n(.*?)```/gs)].map(
    ([, example = ""], index) => [`${index + 1} of ${document}`, example] as const,
  ),
);

test.each(examples)("the library example %s prints what a model says", (_, example) => {
  const { outputText } = ts.transpileModule(example.replace('"model.gguf"', JSON.stringify(tinyModel)), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  // Inside the package, where "bitnet-cli" means itself.
  const path = join(root, "build", `readme-${process.pid}.mjs`);
  writeFileSync(path, outputText);
  try {
    expect(execFileSync(process.execPath, [path], { encoding: "utf8" })).toMatch(/\w+\W+\w+\W+\w+/);
  } finally {
    rmSync(path);
  }
});

describe("links between the documents", () => {
  const documents = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "models/README.md"].concat(
    readdirSync(join(root, "docs")).map((name) => `docs/${name}`),
  );
  test.each(documents)("%s points to files that are there", (document) => {
    const text = readFileSync(join(root, document), "utf8");
    const targets = [...text.matchAll(/\]\(([^)#]+)[^)]*\)/g)].flatMap(([, target = ""]) =>
      target.includes("://") ? [] : target,
    );
    const missing = targets.filter((target) => !existsSync(join(root, dirname(document), target)));
    expect(missing).toEqual([]);
  });
});
