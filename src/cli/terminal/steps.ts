// A progress bar of measurements.

import { Presets, SingleBar } from "cli-progress";

export interface Progress {
  done: number;
  total: number;
  what: string;
}

/** A bar on a terminal, nothing elsewhere. */
export function startProgress(): { update: (progress: Progress) => void; stop: () => void } {
  if (!process.stderr.isTTY) {
    return { update: () => {}, stop: () => {} };
  }
  const bar = new SingleBar(
    {
      stream: process.stderr,
      format: "{bar} {percentage}%  ETA {eta_formatted}  {what}",
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false, // Ctrl-C belongs to the command
    },
    Presets.shades_grey,
  );
  let isStarted = false;
  return {
    update({ done, total, what }) {
      if (!isStarted) {
        isStarted = true;
        bar.start(total, 0, { what });
      }
      bar.update(done, { what });
    },
    stop() {
      bar.stop();
      isStarted = false;
    },
  };
}
