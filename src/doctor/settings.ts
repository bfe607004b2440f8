// What of this machine's settings is in use: environment variables and files of options.

import { access, constants } from "node:fs/promises";
import { reasonOf } from "../system/errors.js";
import { type Advice, type Context, type Finding, findingOf } from "./check.js";

export interface VariableFacts {
  name: string;
  /** null: it is a secret, or may hold one; only that it is set is told. */
  value: string | null;
}

export interface SettingsFacts {
  /** Of those that are read, the ones that are set. */
  variables: VariableFacts[];
  /** Files of options that are read. */
  files: { path: string; problem: string | null }[];
}

export async function checkSettings({ env, variables, settingsFiles }: Context): Promise<Finding<SettingsFacts>> {
  const files = await Promise.all(
    settingsFiles.map(async (path) => ({
      path,
      problem: await access(path, constants.R_OK).then(
        () => null,
        (error: unknown) => reasonOf(error),
      ),
    })),
  );
  const names = Object.keys(env).filter((name) => env[name] && variables.some((known) => isNamed(known, name)));
  const facts: SettingsFacts = {
    variables: names.sort().map((name) => ({ name, value: isSecret(name) ? null : (env[name] ?? null) })),
    files,
  };
  return findingOf(
    facts,
    files.flatMap(({ path, problem }): Advice[] =>
      problem === null ? [] : [{ status: "problem", what: `the file of options ${path} cannot be read: ${problem}` }],
    ),
  );
}

/** Names of proxies are read in capitals, too. */
function isNamed(known: string, name: string): boolean {
  return known.endsWith("*")
    ? name.startsWith(known.slice(0, -1))
    : name === known || (known.endsWith("_proxy") && name === known.toUpperCase());
}

/** Addresses may hold passwords; of OpenTelemetry, headers are keys. */
export function isSecret(name: string): boolean {
  return name !== "HF_TOKEN_PATH" && /TOKEN|KEY|SECRET|PASSWORD|PROXY|HEADERS|REDIS|WEBHOOK|ENDPOINT/i.test(name);
}
