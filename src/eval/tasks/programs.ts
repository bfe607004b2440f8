// Tasks whose answers are programs. They are run only where the user has confirmed it.

import { passAtK } from "../code/pass-at-k.js";
import { codeBeforeFence, judgedProgram } from "../code/program.js";
import { textOf } from "../columns.js";
import type { GenerationTask, MetricValues } from "../task.js";

/** Tests of HumanEval+ are many: for each problem some hundreds of calls. */
const SECONDS = { humaneval: 10, humaneval_plus: 60 } as const;

function humanevalTask(name: keyof typeof SECONDS, id: string, licence: string): GenerationTask {
  return {
    kind: "generation",
    name,
    version: 1,
    source: { id },
    licence,
    split: "test",
    documents: 164,
    shots: { from: "test", draw: "random" },
    prompt: (doc) => textOf(doc, "prompt"),
    target: (doc) => `${textOf(doc, "test")}\ncheck(${textOf(doc, "entry_point")})`,
    stops: ["\nclass", "\ndef", "\n#", "\nif", "\nprint"],
    maxTokens: 1024,
    filters: [
      {
        name: "create_test",
        apply: (answer, doc, context) => textOf(doc, "prompt") + (context.isChat ? codeBeforeFence(answer) : answer),
      },
    ],
    metrics: [{ name: "pass@1" }],
    measure: async (doc, solution, { codeRunner, signal }): Promise<MetricValues> => {
      if (codeRunner === undefined) {
        return {};
      }
      const test = { test: textOf(doc, "test"), entryPoint: textOf(doc, "entry_point") };
      const { passed } = await codeRunner.run(judgedProgram(solution, test), { seconds: SECONDS[name], signal });
      return { "pass@1": passAtK(1, passed ? 1 : 0, 1) };
    },
    codeSample: (doc, solution) => ({
      task_id: textOf(doc, "task_id"),
      completion: solution.slice(textOf(doc, "prompt").length),
      solution,
    }),
  };
}

export const programTasks: readonly GenerationTask[] = [
  humanevalTask("humaneval", "openai/openai_humaneval", "MIT"),
  humanevalTask("humaneval_plus", "evalplus/humanevalplus", "Apache-2.0"),
];
