// What of others is in the published packages: {name, version, license, address, text} of each part.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describePackage, filesLoadedBy, packageFolder } from "./bundle-packages.mjs";
import { bundleScripts, root } from "./stage-package.mjs";

/** By where it is: in the native part, in the scripts, in the web page. */
export async function thirdParty() {
  const { folders } = await bundleScripts();
  const page = (await filesLoadedBy(root, join(root, "src", "ui", "main.tsx"))).map(packageFolder);
  return { native: nativeParts(), scripts: describeAll(folders), page: describeAll(page) };
}

/** One row for each version of a package, wherever and however often it lies. */
function describeAll(folders) {
  const rows = folders.map(describePackage).map((row) => [`${row.name} ${row.version}`, row]);
  return [...new Map(rows.sort(([a], [b]) => (a < b ? -1 : Number(a > b)))).values()];
}

/** What every addon contains; what the compiler adds depends on the platform and stands in the platform's package. */
export function nativeParts() {
  const tables = readFileSync(join(root, "native", "tokenizer", "unicode_tables.inc"), "utf8");
  const unicode = /; Unicode ([\d.]+)\./.exec(tables)?.[1];
  if (unicode === undefined) {
    throw new Error("native/tokenizer/unicode_tables.inc does not say of which Unicode it is");
  }
  return [
    describePackage(join(root, "node_modules", "node-addon-api")),
    {
      name: "Unicode Character Database",
      version: unicode,
      license: "Unicode-3.0",
      address: "https://www.unicode.org/ucd/",
      text: readFileSync(join(root, "scripts", "licenses", "unicode.txt"), "utf8"),
    },
  ];
}
