// Writes THIRD_PARTY_NOTICES.md from what is bundled and linked in: `node scripts/write-notices.mjs`, after
// `npm run build:ts`. With --check it writes nothing and fails if the file is not as it would be.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./stage-package.mjs";
import { thirdParty } from "./third-party.mjs";

const places = {
  native: "In the native part",
  scripts: "In the program's scripts",
  page: "In the web page",
};

const parts = await thirdParty();
const text = `# Third-party notices

The published packages of bitnet contain work of others, under these licences. The packages that bitnet-cli depends on, and
those in its \`node_modules\`, have theirs beside them; what compilers and C libraries add to an addon is named in the
package of its platform. Written by \`scripts/write-notices.mjs\`.

${Object.entries(places)
  .map(([place, title]) => `## ${title}\n\n${parts[place].map((part) => `- ${lineOf(part)}\n`).join("")}`)
  .join("\n")}
## The licences

${licences(Object.values(parts).flat())}`;

const path = join(root, "THIRD_PARTY_NOTICES.md");
if (!process.argv.includes("--check")) {
  writeFileSync(path, text);
} else if (readFileSync(path, "utf8").replaceAll("\r\n", "\n") !== text) {
  console.error("error: THIRD_PARTY_NOTICES.md is not current");
  console.error("hint: npm run build:ts && node scripts/write-notices.mjs");
  process.exitCode = 1;
}

function lineOf({ name, version, license, address }) {
  const at = address
    ?.replace(/^git\+/, "")
    .replace(/\.git$/, "")
    .replace(/^git:/, "https:");
  return `${name} ${version}, ${license}${/^https:/.test(at ?? "") ? `, <${at}>` : ""}`;
}

/** Each text once, with the names of all that it belongs to. */
function licences(all) {
  const owners = new Map();
  for (const { name, license, text: own } of all) {
    const key = own?.replaceAll("\r\n", "\n").trim() ?? `The package says: ${license}. It has no file of its licence.`;
    owners.set(key, new Set([...(owners.get(key) ?? []), name]));
  }
  return [...owners]
    .map(([key, names]) => `### ${[...names].join(", ")}\n\n\`\`\`text\n${key.replaceAll("```", "'''")}\n\`\`\`\n`)
    .join("\n");
}
