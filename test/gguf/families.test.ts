// The table of model families: what the core says of each, and what follows for files.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findFamily, isLinearTensor, isTernaryModel, listFamilies } from "../../src/gguf/families.js";
import { registeredModels } from "../../src/hub/registry.js";
import { packageRoot } from "../../src/system/package.js";

describe("the model families", () => {
  test("have distinct architectures, and the registered models are of them", () => {
    const architectures = listFamilies().map(({ architecture }) => architecture);
    expect(new Set(architectures).size).toBe(architectures.length);
    for (const { repo, family } of registeredModels) {
      expect(architectures, repo).toContain(family);
    }
  });

  test("have the seven projections of a layer, and of every tensor one", () => {
    for (const { tensors } of listFamilies()) {
      const linear = tensors.filter(({ role }) => role === "linear").map(({ name }) => name);
      const expected = "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split(" ");
      expect(linear).toEqual(expected);
      expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length);
      expect(tensors.filter(({ rotated }) => rotated).map(({ name }) => name)).toEqual(["attn_q", "attn_k"]);
    }
  });

  test("those with another norm than the one before attention and feed-forward say where it stands", () => {
    const normsOf = (architecture: string) => [
      ...new Set(findFamily(architecture)?.tensors.flatMap((t) => t.norm ?? [])),
    ];
    expect(normsOf("llama")).toEqual(["pre"]);
    expect(normsOf("bitnet-b1.58")).toEqual(["pre", "sub"]);
    expect(normsOf("qwen3")).toEqual(["pre", "qk", "input"]);
    expect(normsOf("gemma3")).toEqual(["pre", "post", "qk", "input"]);
    expect(findFamily("gpt2")).toBeUndefined();
  });

  test("stand in docs/formats.md as they are", () => {
    const text = readFileSync(join(packageRoot, "docs", "formats.md"), "utf8");
    const section = text.slice(text.indexOf("## Families"), text.indexOf("## Tokenizers"));
    const rows = section.split("\n").flatMap((line) => {
      const [, names = "", activation, subNorms] = line.split("|").map((cell) => cell.trim());
      return [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => ({ name, activation, subNorms }));
    });
    const spelled = { silu: "SiLU", relu2: "squared ReLU", gelu_tanh: "GELU" };
    expect(rows.filter(({ name }) => name !== "general.architecture")).toEqual(
      listFamilies().map(({ architecture, activation, tensors }) => ({
        name: architecture,
        activation: spelled[activation],
        subNorms: tensors.some(({ norm }) => norm === "sub") ? "yes" : "no",
      })),
    );
  });

  test.each([
    ["blk.0.attn_q.weight", true],
    ["blk.23.ffn_down.weight", true],
    ["blk.0.attn_q.bias", false],
    ["blk.0.attn_q_norm.weight", false],
    ["blk.0.attn_norm.weight", false],
    ["blk.attn_q.weight", false],
    ["token_embd.weight", false],
    ["output.weight", false],
  ])("%s is a matrix of a layer: %s", (name, expected) => {
    expect(isLinearTensor(name)).toBe(expected);
  });

  test.each([
    ["bitnet", [], true],
    ["bitnet-25", ["blk.0.attn_q.weight"], true],
    ["llama", ["blk.0.attn_q.weight"], false],
    ["llama", ["blk.0.attn_q_norm_in.weight"], false],
    ["qwen3", ["blk.0.attn_q.weight", "blk.0.attn_q_norm.weight"], false],
    ["qwen3", ["blk.7.ffn_down_norm_in.weight"], true],
    ["gemma3", ["blk.0.attn_q_norm_in.weight"], true],
    ["gpt2", ["blk.0.attn_q_norm_in.weight"], false],
  ])("a model of %s with %j is ternary by what it is: %s", (architecture, tensors, expected) => {
    expect(isTernaryModel(architecture, tensors)).toBe(expected);
  });
});
