// Writes the bill of materials of the published package, build-packages/bitnet-cli-VERSION.cdx.json (CycloneDX 1.6):
// what it depends on, at the versions of package-lock.json, and what is bundled and linked in. `node scripts/write-sbom.mjs`,
// after `npm run build:ts`. The same tree gives the same file.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { platforms } from "./platforms.mjs";
import { keptPackages, root } from "./stage-package.mjs";
import { thirdParty } from "./third-party.mjs";

const read = (name) => JSON.parse(readFileSync(join(root, name), "utf8"));
const { name, version, license, description, repository, homepage } = read("package.json");
const { packages } = read("package-lock.json");

const purlOf = (one, of) => `pkg:npm/${one.replace("@", "%40")}@${of}`;

/** npm's way: the folder of the package itself, then those of the folders around it. */
function installedAt(from, dependency) {
  for (let folder = from; ; folder = folder.replace(/(^|\/)node_modules\/(@[^/]+\/)?[^/]+$/, "")) {
    const path = `${folder === "" ? "" : `${folder}/`}node_modules/${dependency}`;
    if (packages[path] !== undefined) {
      return path;
    }
    if (folder === "") {
      throw new Error(`package-lock.json has no ${dependency} for ${from}`);
    }
  }
}

/** Where everything lies that these depend on, they included. */
function closure(names) {
  const found = new Set(names.map((one) => installedAt("", one)));
  for (const path of found) {
    for (const dependency of Object.keys(packages[path].dependencies ?? {})) {
      found.add(installedAt(path, dependency));
    }
  }
  return [...found];
}

const nameAt = (path) => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);

function npmComponent(path) {
  const { version: installed, license: own, integrity } = packages[path];
  const [algorithm, digest] = integrity?.split("-") ?? [];
  return {
    type: "library",
    "bom-ref": purlOf(nameAt(path), installed),
    name: nameAt(path),
    version: installed,
    ...(own === undefined ? {} : { licenses: [{ expression: own }] }),
    ...(algorithm === "sha512"
      ? { hashes: [{ alg: "SHA-512", content: Buffer.from(digest, "base64").toString("hex") }] }
      : {}),
    purl: purlOf(nameAt(path), installed),
    properties: [{ name: "bitnet:how", value: "dependency" }],
  };
}

function bundledComponent(part, where) {
  const purl = part.name.includes(" ") ? undefined : purlOf(part.name, part.version);
  return {
    type: part.name.includes(" ") ? "data" : "library",
    "bom-ref": `${where}:${purl ?? part.name}`,
    name: part.name,
    version: part.version,
    licenses: [{ expression: part.license.replace(/^\((.*)\)$/, "$1") }],
    ...(purl === undefined ? { externalReferences: [{ type: "website", url: part.address }] } : { purl }),
    properties: [{ name: "bitnet:how", value: where }],
  };
}

const ownComponent = (one, about) => ({
  type: "application",
  "bom-ref": purlOf(one, version),
  name: one,
  version,
  description: about,
  licenses: [{ expression: license }],
  purl: purlOf(one, version),
});

/** A UUID that depends on the content alone. */
function serialOf(text) {
  const hex = createHash("sha256").update(text).digest("hex");
  const variant = ((Number.parseInt(hex[16], 16) & 3) | 8).toString(16);
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

const places = { native: "linked into the addon", scripts: "bundled in dist/bundled", page: "bundled in dist/ui" };
const depended = closure(keptPackages);
const parts = await thirdParty();
const bundled = Object.entries(places).flatMap(([place, how]) =>
  parts[place].map((part) => bundledComponent(part, how)),
);
const native = platforms.map((platform) =>
  ownComponent(`@bitnet-cli/${platform.name}`, `The native part for ${platform.name}`),
);
const body = {
  version: 1,
  metadata: {
    component: {
      ...ownComponent(name, description),
      externalReferences: [
        { type: "vcs", url: repository.url },
        { type: "website", url: homepage },
      ],
    },
  },
  components: [...depended.map(npmComponent), ...native, ...bundled],
  dependencies: [
    {
      ref: purlOf(name, version),
      dependsOn: [
        ...keptPackages.map((one) => purlOf(one, packages[installedAt("", one)].version)),
        ...[...native, ...bundled].map((one) => one["bom-ref"]),
      ],
    },
    ...depended.map((path) => ({
      ref: purlOf(nameAt(path), packages[path].version),
      dependsOn: Object.keys(packages[path].dependencies ?? {}).map((one) => {
        return purlOf(one, packages[installedAt(path, one)].version);
      }),
    })),
  ],
};
const bill = { bomFormat: "CycloneDX", specVersion: "1.6", serialNumber: serialOf(JSON.stringify(body)), ...body };
const path = join(root, "build-packages", `${name}-${version}.cdx.json`);
mkdirSync(join(root, "build-packages"), { recursive: true });
writeFileSync(path, `${JSON.stringify(bill, null, 2)}\n`);
console.error(`wrote ${relative(root, path)}: ${bill.components.length} components`);
