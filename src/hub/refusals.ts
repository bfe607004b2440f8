// What the hub, or the host of its contents, refuses, as errors that say what to do.

import { BitnetError } from "../system/errors.js";
import type { HubEnvironment } from "./environment.js";

/** What was asked for. */
interface Asked {
  /** "owner/name" or "owner/name/file". */
  subject: string;
  /** Its path on the hub: "owner/name", "datasets/owner/name". */
  repo: string;
}

/** A host of contents that also refuses new addresses. */
export function storageRefusedError({ host }: URL, status: number, { subject }: Asked): BitnetError {
  return new BitnetError("NETWORK", `the host of its contents, ${host}, refuses access to ${subject} (${status})`, {
    hint: "check the clock of this machine and the proxy, then run the same command again: it continues where it stopped",
  });
}

// What the hub says in X-Error-Code decides; without a token it answers 401 for what does not exist, too.
export function refusedError(environment: HubEnvironment, response: Response, { subject, repo }: Asked): BitnetError {
  const { endpoint, token, tokenSource } = environment;
  const page = `${endpoint}/${repo}`;
  const code = response.headers.get("x-error-code") ?? "";
  const { status } = response;
  if (code === "GatedRepo") {
    return token === undefined
      ? new BitnetError("NETWORK", `${repo} is gated: its licence has to be accepted first`, {
          hint: `accept it at ${page}, then set HF_TOKEN to a token of ${endpoint}/settings/tokens`,
        })
      : new BitnetError("NETWORK", `${repo} is gated, and the token in ${tokenSource} has no access to it`, {
          hint: `accept its licence at ${page} with the token's account; a fine-grained token also needs the right to read gated repositories`,
        });
  }
  if (status === 401 && token !== undefined && code !== "RepoNotFound") {
    return new BitnetError("NETWORK", `the hub does not accept the token in ${tokenSource} (401)`, {
      hint: `make a new one at ${endpoint}/settings/tokens, or unset it for what is public`,
    });
  }
  if (code === "RevisionNotFound") {
    return new BitnetError("NOT_FOUND", `${repo} has no such revision: ${subject}`, {
      hint: `see ${page}/tree/main for its branches and tags`,
    });
  }
  if (code === "EntryNotFound") {
    return new BitnetError("NOT_FOUND", `${subject} is not in the repository`, { hint: `see ${page}/tree/main` });
  }
  if (status === 404 || (status === 401 && token === undefined) || code === "RepoNotFound") {
    return new BitnetError("NOT_FOUND", `there is no repository ${repo} on ${endpoint}, or it is private (${status})`, {
      hint:
        token === undefined
          ? "check the name; for a private repository set HF_TOKEN to a token that may read it"
          : `check the name, and that the token in ${tokenSource} may read it`,
    });
  }
  if (status === 403) {
    return new BitnetError("NETWORK", `the hub refuses access to ${subject} (403)`, {
      hint:
        token === undefined
          ? `see ${page}; it may need HF_TOKEN`
          : `the token in ${tokenSource} may not read it; check its rights at ${endpoint}/settings/tokens`,
    });
  }
  return new BitnetError("NETWORK", `${subject}: the hub answered ${status}`, { hint: `see ${page}` });
}
