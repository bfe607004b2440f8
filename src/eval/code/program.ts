// The program that judges a generated function: its text, the test of the data set, and a proof that the test has ended.

import { randomBytes } from "node:crypto";

export interface CodeTest {
  /** Python that defines check(candidate). */
  test: string;
  /** The name of the function. */
  entryPoint: string;
}

export interface JudgedProgram {
  text: string;
  /** What the program writes last if the test has ended; nobody can write it who does not read this very program. */
  proof: string;
}

/** Code of a chat's answer: what comes before its first fence. */
export function codeBeforeFence(answer: string): string {
  return answer.split("```", 1)[0] ?? "";
}

/** A line of a file as EvalPlus reads it. */
export interface CodeSample {
  task_id: string;
  /** What the model wrote. */
  completion: string;
  /** The whole function. */
  solution: string;
}

/**
 * NumPy's allclose and the names beside it that the tests of HumanEval+ use, for a Python that has no packages: shapes are
 * spread as NumPy does, equal infinities are close, NaN is close to nothing.
 */
const NUMPY_STAND_IN = `
def _stand_in_for_numpy():
    import sys, types

    def shape(x):
        if not isinstance(x, (list, tuple)):
            return ()
        inside = {shape(y) for y in x} or {()}
        if len(inside) > 1:
            raise ValueError("a list of parts of different shapes")
        return (len(x),) + inside.pop()

    def close(a, b, rtol, atol):
        deep_a, deep_b = len(shape(a)), len(shape(b))
        if deep_a == 0 and deep_b == 0:
            return bool(a == b) or (abs(b) != float("inf") and bool(abs(a - b) <= atol + rtol * abs(b)))
        if deep_a < deep_b or (deep_a == deep_b and len(a) == 1):
            a = [a if deep_a < deep_b else a[0]] * len(b)
        elif deep_b < deep_a or len(b) == 1:
            b = [b if deep_b < deep_a else b[0]] * len(a)
        if len(a) != len(b):
            raise ValueError("shapes differ: %d and %d" % (len(a), len(b)))
        return all([close(x, y, rtol, atol) for x, y in zip(a, b)])

    def allclose(a, b, rtol=1e-05, atol=1e-08):
        return close(a, b, rtol, atol)

    numpy = types.ModuleType("numpy")
    numpy.allclose = allclose
    for name in ("ndarray", "float64", "float32"):
        setattr(numpy, name, type(name, (), {}))
    sys.modules["numpy"] = numpy


_stand_in_for_numpy()
`;

/** Writes below every object that the judged code may have replaced, and ends before anything that it may have left. */
const proofLines = (token: string) => `
import sys as _sys, os as _os
try:
    _sys.__stdout__.flush()
except Exception:
    pass
_os.write(1, b"\\n${token}\\n")
_os._exit(0)
`;

/** The whole function, its test, the call of the test, the proof. */
export function judgedProgram(solution: string, { test, entryPoint }: CodeTest): JudgedProgram {
  const token = randomBytes(16).toString("hex");
  const standIn = /\bnumpy\b/.test(test) ? NUMPY_STAND_IN : "";
  const text = [`${solution}\n`, standIn, `${test}\n\ncheck(${entryPoint})\n`, proofLines(token)].join("\n");
  return { text, proof: `\n${token}\n` };
}
