// Runs programs that a model has written, only where something holds them: bubblewrap, else a container, else not at all.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BitnetError, reasonOf, toBitnetError } from "../../system/errors.js";
import { bubblewrapCommand } from "./bubblewrap.js";
import { type Container, containerCommand, removalCommand } from "./container.js";
import { type EndedProcess, runBounded } from "./process.js";
import { type JudgedProgram, judgedProgram } from "./program.js";

export type SandboxName = "bubblewrap" | "docker" | "podman";

export interface CodeRunnerOptions {
  /** Default: the first of all that works. */
  sandboxes?: readonly SandboxName[];
  /** For containers; it has to be there. Default: python:3.12-slim. */
  image?: string;
  signal?: AbortSignal;
}

export interface RunCodeOptions {
  /** Wall clock; the same bounds the time on a processor. Default: 10. */
  seconds?: number;
  signal?: AbortSignal;
}

export interface CodeOutcome {
  passed: boolean;
  /** passed; exit: it ended without its proof, with whatever status; time: it was killed. */
  reason: "passed" | "exit" | "time";
  /** null if a signal ended it. */
  exitCode: number | null;
  /** The first 64 kB of what it wrote. */
  stdout: string;
  stderr: string;
}

/** Starting a container is not the program's time. */
const CONTAINER_START_MS = 20_000;
/** How long anything may take that is told to be nothing. */
const PROBE_SECONDS = 30;
const LARGEST_PROGRAM = 64 * 1024 ** 2;

/** How one sandbox runs a file. */
type Start = (file: string, seconds: number, signal: AbortSignal | undefined) => Promise<EndedProcess>;

export class CodeRunner {
  readonly sandbox: SandboxName;
  readonly #start: Start;
  readonly #folder: string;
  /** One program at a time: the limits of memory and time are for each, and the machine is one. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(sandbox: SandboxName, start: Start, folder: string) {
    this.sandbox = sandbox;
    this.#start = start;
    this.#folder = folder;
  }

  /** Runs a program after those before; it has passed if it ends well and its proof is the last that it writes. */
  run(program: JudgedProgram, options: RunCodeOptions = {}): Promise<CodeOutcome> {
    const run = this.#last.then(() => this.#runNow(program, options));
    this.#last = run.catch(() => undefined);
    return run;
  }

  async #runNow(program: JudgedProgram, { seconds = 10, signal }: RunCodeOptions): Promise<CodeOutcome> {
    const bytes = Buffer.from(program.text);
    if (bytes.length > LARGEST_PROGRAM) {
      throw new BitnetError("UNSUPPORTED", `a program of ${bytes.length} bytes; at most ${LARGEST_PROGRAM} are run`);
    }
    const file = join(this.#folder, `${randomBytes(8).toString("hex")}.py`);
    try {
      await writeFile(file, bytes);
      await chmod(file, 0o644); // the sandbox may belong to another user
      const { exitCode, timedOut, stdout, stderr, tail } = await this.#start(file, seconds, signal);
      const passed = exitCode === 0 && tail.endsWith(program.proof);
      return { passed, reason: passed ? "passed" : timedOut ? "time" : "exit", exitCode, stdout, stderr };
    } finally {
      await rm(file, { force: true });
    }
  }

  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** The first sandbox that runs a program; UNSUPPORTED, with the reason of each, if there is none. */
export async function openCodeRunner(options: CodeRunnerOptions = {}): Promise<CodeRunner> {
  const { sandboxes = ["bubblewrap", "docker", "podman"], image = "python:3.12-slim", signal } = options;
  const folder = await mkdtemp(join(tmpdir(), "bitnet-code-"));
  await chmod(folder, 0o711);
  const reasons: string[] = [];
  try {
    for (const sandbox of sandboxes) {
      const start = sandbox === "bubblewrap" ? startBubblewrap : startContainer(sandbox, image);
      const runner = new CodeRunner(sandbox, start, folder);
      const reason = await whyNot(runner, signal);
      if (reason === undefined) {
        return runner;
      }
      reasons.push(`${sandbox}: ${reason}`);
    }
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  await rm(folder, { recursive: true, force: true });
  throw new BitnetError("UNSUPPORTED", `there is no sandbox for generated code (${reasons.join("; ")})`, {
    hint: `install bubblewrap on Linux, or get the image ${image} for docker or podman; without running them, answers are written for EvalPlus`,
  });
}

/** What keeps a sandbox from running a program that does nothing. */
async function whyNot(runner: CodeRunner, signal: AbortSignal | undefined): Promise<string | undefined> {
  const nothing = judgedProgram("", { test: "def check(f): f()", entryPoint: "dict" });
  try {
    const { passed, reason, stderr } = await runner.run(nothing, { seconds: PROBE_SECONDS, signal });
    const said = stderr.trim().split("\n", 1)[0]?.slice(0, 200);
    return passed ? undefined : reason === "time" ? "it does not end" : said || "it runs no program";
  } catch (error) {
    if (toBitnetError(error).code === "ABORTED") {
      throw error;
    }
    const { code } = (error as { cause?: NodeJS.ErrnoException }).cause ?? {};
    return code === "ENOENT" ? "not installed" : reasonOf(error);
  }
}

const startBubblewrap: Start = (file, seconds, signal) =>
  runBounded(bubblewrapCommand(file, seconds, process.getuid?.() === 0), {
    wallMs: seconds * 1000,
    env: { PATH: process.env.PATH },
    signal,
  });

function startContainer(engine: "docker" | "podman", image: string): Start {
  return async (file, seconds, signal) => {
    const container: Container = { engine, name: `bitnet-code-${randomBytes(8).toString("hex")}`, image };
    const remove = () => {
      const [program = "", ...args] = removalCommand(container);
      spawn(program, args, { stdio: "ignore" }).on("error", () => undefined);
    };
    const wallMs = seconds * 1000 + CONTAINER_START_MS;
    return runBounded(containerCommand(container, file, seconds), { wallMs, env: process.env, signal, kill: remove });
  };
}
