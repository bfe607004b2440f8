// All tasks and groups that there are, in the order in which they are told.

import { closest } from "../../system/closest.js";
import { BitnetError } from "../../system/errors.js";
import type { Task, TaskGroup } from "../task.js";
import { answerTasks } from "./answers.js";
import { choiceGroups, choiceTasks } from "./choices.js";
import { ifeval } from "./instructions.js";
import { likelihoodTasks } from "./likelihoods.js";
import { programTasks } from "./programs.js";

export const tasks: readonly Task[] = [...choiceTasks, ...answerTasks, ...programTasks, ifeval, ...likelihoodTasks];

export const groups: readonly TaskGroup[] = [...choiceGroups];

/** The task or group of a name; USAGE if there is none. */
export function findTask(name: string): Task | TaskGroup {
  const all = [...tasks, ...groups];
  const found = all.find((row) => row.name === name);
  if (found === undefined) {
    const meant = closest(
      name,
      all.map((row) => row.name),
    );
    throw new BitnetError("USAGE", `there is no task '${name}'`, {
      hint: meant === undefined ? "bitnet eval list names them" : `did you mean ${meant}?`,
    });
  }
  return found;
}

/** The tasks of a name, those of a group in its order. */
export function tasksOf(name: string): Task[] {
  const row = findTask(name);
  return "members" in row ? row.members.flatMap(tasksOf) : [row];
}
