// A conversation with a model file on the real stdin and stdout: node talk.mjs MODEL OPTIONS_AS_JSON

import { runConversation } from "../../dist/commands/conversation.js";
import { loadModel } from "../../dist/model.js";

const [path, options = "{}"] = process.argv.slice(2);
const model = await loadModel(path);
try {
  await runConversation(model, JSON.parse(options));
} catch (error) {
  process.stderr.write(`${error.code}: ${error.message}\n`);
  process.exitCode = error.code === "ABORTED" ? 130 : 1;
} finally {
  model.close();
}
