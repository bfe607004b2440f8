// POST /slots/N?action=save|restore|erase: what a client has in its place, as a file of the server's folder.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { BitnetError } from "../../system/errors.js";
import type { Register, ServerContext } from "../context.js";
import { ApiError, invalid } from "../errors.js";
import { slotOwner } from "../service.js";
import { slotIsBusy } from "../slots.js";
import { bodyOf, clientOf, nameIgnored } from "./exchange.js";

const actions = ["save", "restore", "erase"];

export const register: Register = (app, context) => {
  const config = { access: "admin" } as const; // it reads and writes files
  checkFolder(context.options.slotFolder);
  app.post<{ Params: { place: string }; Querystring: { action?: unknown } }>(
    "/slots/:place",
    { config },
    async (request, reply) => {
      const { slotFolder } = context.options;
      if (slotFolder === undefined) {
        throw new ApiError("not_supported_error", "slots are not saved: start the server with --slot-save-path", {
          ...{ code: "not_supported", shouldRetry: false },
        });
      }
      const place = readPlace(request.params.place, context);
      const { action } = request.query;
      if (action === "erase") {
        return { id_slot: place, n_erased: context.service.slots.erase(place) };
      }
      if (action !== "save" && action !== "restore") {
        throw invalid("action", `expected one of ${actions.join(", ")}`);
      }
      const body = bodyOf(request);
      const name = readName(body.text("filename"));
      nameIgnored(reply, body);
      return { id_slot: place, filename: name, ...(await move(context, { action, place, name, slotFolder }, request)) };
    },
  );
};

function checkFolder(path: string | undefined): void {
  if (path !== undefined && !existsSync(path)) {
    throw new BitnetError("USAGE", `${path}: expected a folder for what slots hold, there is none`);
  }
}

function readPlace(text: string, { service }: ServerContext): number {
  const { count } = service.slots;
  const place = /^\d{1,4}$/.test(text) ? Number(text) : count;
  if (place >= count) {
    throw invalid("id_slot", `expected a number from 0 to ${count - 1}`);
  }
  return place;
}

/** A bare name: nothing that leads to another folder, to a hidden file or to a device. */
function readName(name: string | undefined): string {
  if (name === undefined || !/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(name) || name.endsWith(".partial")) {
    throw invalid("filename", "expected the name of a file: up to 128 letters, digits, _, . and -, no folders");
  }
  return name;
}

interface Move {
  action: "save" | "restore";
  place: number;
  name: string;
  slotFolder: string;
}

async function move(
  { service }: ServerContext,
  { action, place, name, slotFolder }: Move,
  request: Parameters<typeof clientOf>[0],
): Promise<object> {
  const client = clientOf(request);
  using _model = await service.borrow();
  const adapters = service.adapterScales.list();
  const owner = slotOwner(client, adapters);
  await using lease = service.slots.take(place, owner, () => service.createSlotSession(client, adapters));
  if (lease === undefined) {
    throw slotIsBusy(place);
  }
  const begunAt = performance.now();
  const path = join(slotFolder, name);
  const { tokens, bytes } = await withoutPaths(action, name, () => lease.session[action](path));
  const ms = performance.now() - begunAt;
  return action === "save"
    ? { n_saved: tokens, n_written: bytes, timings: { save_ms: ms } }
    : { n_restored: tokens, n_read: bytes, timings: { restore_ms: ms } };
}

/** Where the folder lies is nobody's business. */
async function withoutPaths<T>(action: string, name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BitnetError && error.code !== "NO_MEMORY" && error.code !== "ABORTED") {
      if (action === "save") {
        throw new ApiError("server_error", `${name}: the slot could not be written`, {
          ...{ code: "slot_not_written", cause: error },
        });
      }
      throw new ApiError(
        "invalid_request_error",
        `${name}: there is no such file, or it was not saved by this model with these settings`,
        { code: "invalid_value", param: "filename", cause: error },
      );
    }
    throw error;
  }
}
