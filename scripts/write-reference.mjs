// Writes man/bitnet.1, the tables of docs/command-line.md and docs/endpoints.md from the built program:
// `npm run build:reference`.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { manualPage, referenceTables, variableTable } from "../dist/cli/manual.js";
import { loadProgram } from "../dist/cli/program.js";
import { describeProgram } from "../dist/cli/reference.js";
import { endpointTables } from "../dist/serve/api/reference.js";
import { packageVersion } from "../dist/system/package.js";

const commands = describeProgram(await loadProgram());
const path = (name) => new URL(`../${name}`, import.meta.url);
mkdirSync(path("man"), { recursive: true });
writeFileSync(path("man/bitnet.1"), manualPage(packageVersion(), commands));
const page = readFileSync(path("docs/command-line.md"), "utf8");
const [text] = page.split("<!-- tables -->");
const [before, after] = text.split(/<!-- variables -->.*<!-- end of variables -->/s);
const table = `<!-- variables -->\n\n${variableTable()}\n<!-- end of variables -->`;
writeFileSync(path("docs/command-line.md"), `${before}${table}${after}<!-- tables -->\n\n${referenceTables(commands)}`);
const endpoints = readFileSync(path("docs/endpoints.md"), "utf8").split("<!-- tables -->")[0];
writeFileSync(path("docs/endpoints.md"), `${endpoints}<!-- tables -->\n\n${endpointTables()}`);
