// The adapter that a command line names: a path, or one of the hub, which is downloaded when it is first used.

import { existsSync } from "node:fs";
import { showDownload } from "./setup-steps.js";
import { interruptSignal } from "./terminal/output.js";
import { createSteps } from "./terminal/steps.js";

/** The path of the adapter that `text` names, after its download if it is not there. */
export async function locateAdapter(text: string, { quiet }: { quiet?: boolean } = {}): Promise<string> {
  if (existsSync(text)) {
    return text;
  }
  const { fetchAdapter } = await import("../models/adapters.js");
  const steps = await createSteps({ quiet });
  try {
    const path = await fetchAdapter(text, {
      signal: interruptSignal(),
      onProgress: (progress) => showDownload(steps, progress),
    });
    steps.succeed();
    return path;
  } catch (error) {
    steps.fail();
    throw error;
  }
}
