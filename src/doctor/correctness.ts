// The proof that this machine computes what it should: the bundled model by every kernel and layout, compared with a
// record that another implementation has made.

import { differenceOf, mostDifference } from "../bench/stats.js";
import { weightLayouts } from "../engine/layouts.js";
import { loadModel, type Model } from "../engine/model.js";
import { bundledModel } from "../models/bundled.js";
import type { WeightLayout } from "../native/addon.js";
import { type BitnetErrorCode, throwIfAborted, toBitnetError } from "../system/errors.js";
import { hashFiles } from "../system/hash-files.js";
import { type Advice, adviceOf, type Context, type Finding, findingOf } from "./check.js";
import { type Golden, readGolden } from "./golden.js";

export interface KernelProof {
  kernel: string;
  layout: WeightLayout;
  /** A small product has the bits that the scalar kernel gives. */
  selfTest: boolean;
  /** Of the logits to the record, relative RMS; null: they could not be computed. */
  difference: number | null;
  sameText: boolean;
  right: boolean;
  /** Why nothing was computed. */
  problem: string | null;
  /** Of that error. */
  code: BitnetErrorCode | null;
}

export interface CorrectnessFacts {
  /** The bundled model's file is the one that was recorded. */
  modelIntact: boolean;
  mostDifference: number;
  proofs: KernelProof[];
  /** Texts become the recorded tokens and come back. */
  tokenizer: boolean;
}

export async function checkCorrectness(context: Context): Promise<Finding<CorrectnessFacts>> {
  const { native, signal, onStep } = context;
  if (native instanceof Error) {
    return findingOf<CorrectnessFacts>(null);
  }
  try {
    const golden = await readGolden();
    const modelIntact = (await hashFiles([bundledModel.path], signal)) === golden.sha256;
    if (!modelIntact) {
      const facts = { modelIntact, mostDifference, proofs: [], tokenizer: false };
      const what = `the bundled model is damaged: ${bundledModel.path} is not what was published`;
      return findingOf(facts, [{ status: "problem", what, next: "install the package again" }]);
    }
    const kernels = native.kernels().filter(({ supported }) => supported);
    const proofs: KernelProof[] = [];
    let tokenizer = true;
    onStep("Testing the kernels");
    for (const { name } of kernels) {
      const wrong = native.testKernel(name);
      for (const layout of weightLayouts) {
        throwIfAborted(signal);
        const { proof, tokenizes } = await proveKernel(name, layout, wrong, golden, signal);
        proofs.push(proof);
        tokenizer &&= tokenizes;
      }
    }
    const facts: CorrectnessFacts = { modelIntact, mostDifference, proofs, tokenizer };
    return findingOf(facts, adviseProofs(facts));
  } catch (error) {
    throwIfAborted(signal);
    return findingOf<CorrectnessFacts>(null, [adviceOf(error)]);
  }
}

async function proveKernel(
  kernel: string,
  layout: WeightLayout,
  wrong: readonly WeightLayout[],
  golden: Golden,
  signal: AbortSignal | undefined,
): Promise<{ proof: KernelProof; tokenizes: boolean }> {
  const head = { kernel, layout, selfTest: !wrong.includes(layout) };
  try {
    await using model = await loadModel(bundledModel.path, { kernel, layout, tuning: {}, signal });
    const difference = await measureDifference(model, golden, signal);
    const sameText = await writesSameText(model, golden, signal);
    const right = head.selfTest && difference <= mostDifference && sameText;
    const proof = { ...head, difference, sameText, right, problem: null, code: null };
    return { proof, tokenizes: tokenizes(model, golden) };
  } catch (error) {
    throwIfAborted(signal);
    const { message: problem, code } = toBitnetError(error);
    return { proof: { ...head, difference: null, sameText: false, right: false, problem, code }, tokenizes: true };
  }
}

async function measureDifference(model: Model, { ids, logits }: Golden, signal?: AbortSignal): Promise<number> {
  await using session = model.createSession({ sharePrompts: false });
  await session.prefill(ids, { signal });
  return differenceOf(session.logits(), logits);
}

async function writesSameText(model: Model, { prompt, greedy, text }: Golden, signal?: AbortSignal): Promise<boolean> {
  await using session = model.createSession({ sharePrompts: false });
  const options = { maxTokens: greedy.length, temperature: 0, ignoreEos: true, signal };
  return (await session.complete(prompt, options)).text === text;
}

const everyKind = "naïve café, 北京 and 🙂\n\ttab";

function tokenizes(model: Model, { prompt, ids }: Golden): boolean {
  const encoded = model.tokenizer.encode(prompt);
  const isSame = encoded.length === ids.length && ids.every((id, i) => encoded[i] === id);
  const back = model.tokenizer.decode(model.tokenizer.encode(everyKind, { addSpecial: false }));
  return isSame && back === everyKind;
}

/** What was computed and is not right. */
export function isWrong({ right, selfTest, problem }: KernelProof): boolean {
  return !right && (!selfTest || problem === null);
}

function adviseProofs({ proofs, tokenizer }: CorrectnessFacts): Advice[] {
  const wrong = proofs.filter(isWrong);
  const untried = proofs.find((proof) => !proof.right && !isWrong(proof));
  const names = [...new Set(wrong.map(({ kernel }) => kernel))];
  const next = names.includes("scalar")
    ? "the native part is damaged: install or build it again"
    : "set BITNET_KERNEL=scalar meanwhile, and report this with bitnet doctor --report";
  const how = ({ kernel, layout }: KernelProof) => `${kernel}, ${layout}`;
  return [
    ...(wrong[0] === undefined
      ? []
      : [{ status: "problem", what: `wrong results of ${names.join(", ")} (${how(wrong[0])})`, next } as const]),
    ...(untried === undefined ? [] : [adviseUntried(untried)]),
    ...(tokenizer
      ? []
      : [{ status: "problem", what: "the tokenizer does not give back its texts", next: "report this" } as const]),
  ];
}

function adviseUntried({ kernel, layout, problem, code }: KernelProof): Advice {
  const next =
    code === "NO_MEMORY"
      ? "end other programs, or allow this one more memory (ulimit -v, the limit of the container)"
      : "install the package again";
  return { status: "problem", what: `not everything could be tested: ${kernel}, ${layout}: ${problem}`, next };
}
