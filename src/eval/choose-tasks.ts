// Which tasks a run has.

import { BitnetError } from "../system/errors.js";
import type { EvaluateTasksOptions } from "./options.js";
import type { Task } from "./task.js";
import { tasksOf } from "./tasks/all.js";

export type Choice = Pick<EvaluateTasksOptions, "tasks" | "samples" | "data" | "onNote">;

/** Each task once, in the order in which they were asked for. USAGE for names that are none, and where nothing is left. */
export function chooseTasks({ tasks, samples, data = {}, onNote }: Choice): Task[] {
  const all = tasks.flatMap((task) => (typeof task === "string" ? tasksOf(task) : [task]));
  const unique = [...new Map(all.map((task) => [task.name, task])).values()];
  const names = new Set(unique.map(({ name }) => name));
  for (const [what, given] of Object.entries({ data, samples: samples ?? {} })) {
    for (const name of Object.keys(given)) {
      const isUsed = names.has(name) || tasksOf(name).some((task) => names.has(task.name));
      if (!isUsed) {
        onNote?.(`${what} of ${name}: not used, the task is not among those of this run`);
      }
    }
  }
  const chosen = samples === undefined ? unique : unique.filter(({ name }) => samples[name] !== undefined);
  if (chosen.length === 0) {
    throw new BitnetError("USAGE", `samples: there are none of ${[...names].join(", ")}`, {
      hint: 'they are given by task, not by group: {"arc_easy": [0, 5]}',
    });
  }
  return chosen;
}
