// The entry: one command line in, errors to exit status. The only place that ends the process.

import { CommanderError } from "commander";
import { abortedError, exitStatusOf, toBitnetError } from "../system/errors.js";
import { UsageError } from "./command.js";
import { createProgram } from "./program.js";
import { reportError, wasTerminated } from "./terminal/output.js";
import { guardStreams } from "./terminal/streams.js";

const usageStatus = 2; // what cannot even be parsed
const terminatedStatus = 143; // 128 and the number of SIGTERM
const lingerMs = 1000; // of a process that was stopped

/** Runs one command line and sets the exit status. */
export async function main(args: readonly string[]): Promise<void> {
  guardStreams((status) => process.exit(status));
  try {
    const { program, args: resolved } = await createProgram(args);
    await program.parseAsync(resolved, { from: "user" });
  } catch (error) {
    process.exitCode = reportFailure(error, args);
    if (process.exitCode === exitStatusOf(abortedError()) || process.exitCode === terminatedStatus) {
      // What still keeps the process, like a connection to an address that does not answer, is not waited for.
      setTimeout(() => process.exit(), lingerMs).unref();
    }
  }
}

/** Prints what went wrong; returns the exit status. */
function reportFailure(thrown: unknown, args: readonly string[]): number {
  if (thrown instanceof CommanderError) {
    return thrown.exitCode === 0 ? 0 : usageStatus; // help was printed
  }
  const error = toBitnetError(thrown);
  if (error.code !== "ABORTED") {
    const isVerbose = args.includes("--verbose") || args.includes("-v") || Boolean(process.env.BITNET_DEBUG);
    reportError(error, isVerbose);
  }
  if (error.code === "ABORTED" && wasTerminated()) {
    return terminatedStatus;
  }
  return error instanceof UsageError ? usageStatus : exitStatusOf(error);
}
