import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadModel } from "../../src/engine/model.js";
import { passAtK } from "../../src/eval/code/pass-at-k.js";
import { codeBeforeFence, judgedProgram } from "../../src/eval/code/program.js";
import { type CodeOutcome, type CodeRunner, openCodeRunner } from "../../src/eval/code/runner.js";
import { evaluateTasks } from "../../src/eval/run-tasks.js";
import { tinyModel } from "../support/fixtures.js";

const prompt = 'def double(x):\n    """Twice x."""\n';
const problem = {
  test: "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1.5) == -3\n",
  entryPoint: "double",
};

test("pass@k is the share of right answers for 1, and no chance is lost where fewer than k are wrong", () => {
  expect(passAtK(10, 3, 1)).toBeCloseTo(0.3, 12);
  expect(passAtK(5, 2, 3)).toBeCloseTo(0.9, 12); // 1 - C(3,3)/C(5,3)
  expect(passAtK(200, 1, 100)).toBeCloseTo(0.5, 12);
  expect(passAtK(4, 2, 3)).toBe(1);
  expect(passAtK(4, 0, 4)).toBe(0);
});

test("of a chat's answer the code before its first fence counts", () => {
  expect(codeBeforeFence("    return 2 * x\n```\nThis doubles.```")).toBe("    return 2 * x\n");
  expect(codeBeforeFence("    return 2 * x")).toBe("    return 2 * x");
});

test("without a sandbox nothing is run, and each reason is told", async () => {
  const open = openCodeRunner({ sandboxes: ["podman"], image: "localhost/no-such-image" });
  await expect(open).rejects.toMatchObject({
    code: "UNSUPPORTED",
    message: expect.stringMatching(/^there is no sandbox for generated code \(podman: .+\)$/),
    hint: expect.stringContaining("install bubblewrap"),
  });
});

// These need a kernel with user namespaces and bubblewrap, which is not everywhere.
const sandbox: CodeRunner | string = await openCodeRunner({ sandboxes: ["bubblewrap"] }).catch(
  (error) => error.message,
);

describe.skipIf(typeof sandbox === "string")(
  `generated code${typeof sandbox === "string" ? `: ${sandbox}` : ""}`,
  () => {
    const folders = readdirSync(tmpdir()).filter((name) => name.startsWith("bitnet-code-"));
    let runner: CodeRunner;

    beforeAll(() => {
      runner = sandbox as CodeRunner;
    });
    afterAll(async () => {
      await runner.close();
      const left = readdirSync(tmpdir()).filter((name) => name.startsWith("bitnet-code-"));
      expect(left.filter((name) => !folders.includes(name))).toEqual([]);
    });

    /** No test is about time, but for the one that ends because of it. */
    const run = (completion: string, options = {}): Promise<CodeOutcome> =>
      runner.run(judgedProgram(prompt + completion, problem), { seconds: 120, ...options });

    test("a right function passes, a wrong one and one that is no Python fail", async () => {
      expect(await run("    return 2 * x\n")).toMatchObject({ passed: true, reason: "passed", exitCode: 0 });
      const wrong = await run("    return x * x\n");
      expect(wrong).toMatchObject({ passed: false, reason: "exit", exitCode: 1 });
      expect(wrong.stderr).toContain("AssertionError");
      expect((await run("    return 2 *\n")).stderr).toContain("SyntaxError");
      expect((await run("    return '\ud800\u0000'\n")).passed).toBe(false);
    });

    test("what the function prints, closes or leaves behind does not change the verdict", async () => {
      const noisy = "    print('é', end='')\n    return 2 * x\n";
      expect(await run(noisy)).toMatchObject({ passed: true, stdout: expect.stringContaining("éé") });
      expect((await run("    return 2 * x\nimport sys, io\nsys.stdout = io.StringIO()\n")).passed).toBe(true);
      expect((await run("    return 2 * x\nimport atexit\natexit.register(print, 'late')\n")).passed).toBe(true);
    });

    test("ending early with success is no success", async () => {
      for (const completion of ["    import sys; sys.exit(0)\n", "    import os; os._exit(0)\n", "    quit()\n"]) {
        expect(await run(completion)).toMatchObject({ passed: false, reason: "exit" });
      }
    });

    test("an endless loop is killed", async () => {
      expect(await run("    while True: pass\n", { seconds: 1 })).toMatchObject({ passed: false, reason: "time" });
      const sleeping = "    import signal, time\n    signal.alarm(0)\n    time.sleep(1000)\n";
      expect(await run(sleeping, { seconds: 1 })).toMatchObject({ passed: false, reason: "time" });
    });

    test("a signal ends a program, and no answer comes", async () => {
      const stop = new AbortController();
      const running = run("    import time; time.sleep(1000)\n", { signal: stop.signal });
      stop.abort();
      await expect(running).rejects.toMatchObject({ code: "ABORTED" });
    });

    test("of an endless output 64 kB are kept", async () => {
      const { passed, stdout } = await run("    while True: print('x' * 1000)\n", { seconds: 1 });
      expect(passed).toBe(false);
      expect(stdout).toHaveLength(64 * 1024);
      expect((await run("    print('x' * 200000)\n    return 2 * x\n")).passed).toBe(true);
    });

    /** What a program prints that tries each of the lines by itself. */
    const attempt = async (...lines: string[]) => {
      const tries = lines.map(
        (line) => `    try:\n        ${line}\n    except BaseException as e:\n        print(type(e).__name__)\n`,
      );
      return (await run(`    import os, socket\n${tries.join("")}    1 / 0\n`)).stdout.trim().split("\n");
    };

    test("there is no network", async () => {
      const { stdout } = await run(
        "    import socket\n    print([name for _, name in socket.if_nameindex()])\n    1 / 0\n",
      );
      expect(stdout).toBe("['lo']\n");
      expect(
        await attempt("socket.create_connection(('127.0.0.1', 1), 5)", "socket.getaddrinfo('example.com', 80)"),
      ).toEqual(["ConnectionRefusedError", "gaierror"]);
    });

    test("there are no files but the system's, and nothing to write to but 16 MB of /tmp", async () => {
      expect(
        await attempt(
          "print(sorted(os.listdir('/')))",
          "open('/etc/passwd')",
          "open('/usr/x', 'w')",
          "open('/x', 'w')",
          "open('/dev/shm/x', 'w')",
          "open('/program.py', 'a')",
          "print(open('/tmp/x', 'w').write('text'), os.environ.get('HOME'), os.getppid())",
        ),
      ).toEqual([
        "['bin', 'dev', 'lib', 'lib64', 'proc', 'program.py', 'tmp', 'usr']",
        "FileNotFoundError",
        "OSError",
        "OSError",
        "OSError",
        expect.stringMatching(/OSError|PermissionError/),
        "4 None 1",
      ]);
      const filling = "for i in range(20): open(f'/tmp/{i}', 'w').write('x' * 1000000)";
      expect(await attempt(filling, "print(len(os.listdir('/tmp')))")).toEqual([
        "OSError",
        expect.stringMatching(/^1\d$/),
      ]);
      const { exitCode } = await run(
        "    import signal\n    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n    open('/tmp/x', 'w').write('x' * 2000000)\n",
      );
      expect(exitCode).not.toBe(0);
    });

    test("memory ends at 2 GB", async () => {
      expect(await attempt("x = bytearray(2 ** 31)", "print(len(bytearray(2 ** 20)))")).toEqual([
        "MemoryError",
        "1048576",
      ]);
    });

    test("a program cannot take the processes of the machine", async () => {
      // Children that sleep until the sandbox ends, and never more than 200 of them.
      const forks = [
        "    import os, time",
        "    for made in range(200):",
        "        try:",
        "            child = os.fork()",
        "        except OSError:",
        "            break",
        "        if child == 0:",
        "            time.sleep(60)",
        "            os._exit(0)",
        "    print(made, flush=True)",
        "    os._exit(0)",
      ];
      const { stdout } = await run(`${forks.join("\n")}\n`);
      expect(Number(stdout)).toBeLessThan(40);
      expect(stdout).toMatch(/^\d+\n$/);
    });

    test("the tests of HumanEval+ find what they need of NumPy", async () => {
      const plus = (completion: string, expected: string) =>
        runner.run(
          judgedProgram(`from __future__ import annotations\ndef f():\n${completion}`, {
            test: `import numpy as np\n\ndef check(candidate):\n    assert not isinstance(2.0, np.ndarray)\n    assert np.allclose(candidate(), ${expected}, rtol=1e-07, atol=1e-6)\n`,
            entryPoint: "f",
          }),
          { seconds: 120 },
        );
      expect((await plus("    return [1.0, (2.0000001, 3)]\n", "[1.0, [2.0, 3.0]]")).passed).toBe(false); // no shape
      expect((await plus("    return [1.0, 2.0000001]\n", "(1, 2)")).passed).toBe(true);
      expect((await plus("    return [1.0, 2.1]\n", "(1, 2)")).passed).toBe(false);
      expect((await plus("    return [1, 1]\n", "1.0")).passed).toBe(true);
      expect((await plus("    return [1, 1, 1]\n", "[1, 1]")).passed).toBe(false);
      expect((await plus("    return float('inf')\n", "float('inf')")).passed).toBe(true);
      expect((await plus("    return 1e300\n", "float('inf')")).passed).toBe(false);
      expect((await plus("    return float('nan')\n", "float('nan')")).passed).toBe(false);
    });

    test("a task of programs runs them where that is confirmed, and names what held them", async () => {
      // What the model writes is a comment.
      const row = {
        prompt: "def f():\n    return 1\n# ",
        test: "def check(c):\n    assert c() == 1\n",
        entry_point: "f",
      };
      const file = join(mkdtempSync(join(tmpdir(), "bitnet-humaneval-")), "rows.jsonl");
      writeFileSync(file, [row, { ...row, entry_point: "g" }].map((one) => `${JSON.stringify(one)}\n`).join(""));
      const model = await loadModel(tinyModel);
      try {
        const { results, samples } = await evaluateTasks({
          ...{ model, tasks: ["humaneval"], data: { humaneval: file }, cacheDir: false, runsUnsafeCode: true },
          writing: { maxTokens: 4 },
        });
        expect(samples.humaneval?.map((sample) => sample["pass@1"])).toEqual([1, 0]);
        expect(results.results.humaneval).toMatchObject({ "pass@1,create_test": 0.5 });
        expect(results.bitnet.codeRunner).toBe("bubblewrap");
      } finally {
        model.close();
        rmSync(dirname(file), { recursive: true, force: true });
      }
    });
  },
);
