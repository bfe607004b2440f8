// The key and the certificate of HTTPS.

import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { BitnetError, reasonOf } from "../system/errors.js";

export interface TlsFiles {
  keyFile: string;
  certFile: string;
}

/** Throws what is wrong with them, before anybody connects. */
export function readTls({ keyFile, certFile }: TlsFiles): { key: Buffer; cert: Buffer } {
  const key = read(keyFile, "key");
  const cert = read(certFile, "certificate");
  check(keyFile, "expected the key of HTTPS as PEM", { key });
  check(certFile, "expected the certificate of HTTPS as PEM", { cert });
  check(certFile, `expected the certificate of the key in ${keyFile}`, { key, cert });
  return { key, cert };
}

function read(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new BitnetError("USAGE", `${path}: the ${what} of HTTPS cannot be read: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

function check(path: string, expected: string, parts: { key?: Buffer; cert?: Buffer }): void {
  try {
    createSecureContext(parts);
  } catch (error) {
    throw new BitnetError("USAGE", `${path}: ${expected}`, { cause: error });
  }
}
