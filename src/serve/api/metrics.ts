// GET /metrics, and the same without a key on a port of its own.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { BitnetError, reasonOf } from "../../system/errors.js";
import type { Register, ServerContext } from "../context.js";
import { toApiError } from "../errors.js";
import { checkHost } from "../hosts.js";
import type { Metrics } from "../metrics.js";
import { watchingOf } from "../watching.js";

export const register: Register = async (app, context) => {
  const { metrics } = watchingOf(context);
  app.get("/metrics", async (_, reply) => reply.header("content-type", metrics.contentType).send(await metrics.text()));
  if (context.options.metricsPort !== undefined) {
    await listen(context, metrics, context.options.metricsPort);
  }
};

async function listen(context: ServerContext, metrics: Metrics, port: number): Promise<void> {
  const host = context.options.hosts.find((each) => !each.endsWith(".sock")) ?? "127.0.0.1";
  const server = createServer((request, response) => {
    const answer = async () => {
      checkHost(request, context.options);
      const isFound = request.method === "GET" && request.url?.replace(/\?.*/s, "") === "/metrics";
      response.writeHead(isFound ? 200 : 404, { "content-type": metrics.contentType });
      response.end(isFound ? await metrics.text() : "");
    };
    answer().catch((error: unknown) => {
      response.writeHead(toApiError(error).status).end();
    });
  });
  server.maxConnections = 64;
  server.headersTimeout = 10_000;
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(new BitnetError("USAGE", `--metrics-port: cannot listen on ${host}:${port}: ${reasonOf(error)}`));
    });
    server.listen({ host, port }, resolve);
  });
  const { port: chosen } = server.address() as AddressInfo;
  context.log({ level: "info", message: `metrics without a key: http://${host}:${chosen}/metrics` });
  context.onClose(async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  });
}
