// Completion, in the shells themselves where this machine has them.

import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Shell, shells } from "../../src/cli/completion.js";
import { root, runBitnet } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-completion-"));
const has = (shell: string) => spawnSync(shell, ["-c", "true"]).status === 0;

beforeAll(async () => {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  writeFileSync(
    join(bin, "bitnet"),
    `#!/bin/sh\nexec "${process.execPath}" "${join(root, "bin", "bitnet.js")}" "$@"\n`,
  );
  chmodSync(join(bin, "bitnet"), 0o755);
  for (const shell of shells) {
    const { status, stdout } = await runBitnet(["completion", shell]);
    expect(status).toBe(0);
    writeFileSync(join(folder, shell), stdout);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

// Each prints a proposal a line, for the words of a command line of which the last is being typed.
const ask: Record<Shell, string> = {
  bash: `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _bitnet; printf '%s\\n' "\${COMPREPLY[@]}"`,
  zsh: `
    compdef() { : }
    compadd() { shift; print -l -- "$@" }
    _files() { ls }
    _describe() { print -l -- \${\${(P)2}%%:*} }
    source "$0"; words=("$@"); CURRENT=$#; _bitnet`,
  fish: `source $argv[1]; complete -C "$argv[2..-1]" | string replace -r "\\t.*" ""; true`,
};

function complete(shell: Shell, words: string[]): string[] {
  const script = join(folder, shell);
  const args = shell === "zsh" ? ["-f", "-c", ask.zsh, script] : ["-c", ask[shell], script];
  const env = { ...process.env, HOME: folder, PATH: `${join(folder, "bin")}${delimiter}${process.env.PATH}` };
  const output = execFileSync(shell, [...args, ...words], { cwd: root, encoding: "utf8", env });
  const last = words.at(-1) ?? "";
  return output.split("\n").filter((line) => line !== "" && line.startsWith(last));
}

describe.each(shells)("%s", (shell) => {
  const cases: [string[], string[], string[]][] = [
    [["bitnet", "r"], ["run", "rm", "remove"], ["bench"]],
    [["bitnet", "help", "be"], ["bench"], []],
    [["bitnet", "run", "--te"], ["--temp", "--temperature"], ["--text"]],
    [["bitnet", "ls", "--"], ["--json", "--model-dir"], ["--temp"]],
    [["bitnet", "run", "--color", ""], ["auto", "always", "never"], ["run"]],
    [["bitnet", "run", "falcon-e"], ["falcon-e-1b"], []],
    [["bitnet", "pull", "2"], ["2b"], []],
    [["bitnet", "rm", ""], [], ["falcon-e-1b"]],
    [["bitnet", "bench", "k"], ["kernels"], []],
    [["bitnet", "bench", "kernels", "--"], ["--layouts"], ["--plot"]],
    [["bitnet", "run", "-m", "tiny"], ["tiny-bitnet"], []],
    [["bitnet", "show", "tiny"], ["tiny-bitnet"], []],
    [["bitnet", "completion", ""], ["bash", "zsh", "fish"], ["models"]],
  ];
  test.skipIf(!has(shell)).each(cases)("%j", (words, wanted, unwanted) => {
    const proposed = complete(shell, words);
    expect(proposed).toEqual(expect.arrayContaining(wanted));
    for (const word of unwanted) {
      expect(proposed).not.toContain(word);
    }
  });

  test.skipIf(!has(shell))("proposes files where an option takes one", () => {
    expect(complete(shell, ["bitnet", "run", "-f", "READ"])).toContain("README.md");
  });
});

test("another shell is refused with the names of those that there are", async () => {
  const { status, stderr } = await runBitnet(["completion", "tcsh"]);
  expect({ status, stderr }).toEqual({ status: 2, stderr: expect.stringContaining("bash, zsh, fish") });
});
