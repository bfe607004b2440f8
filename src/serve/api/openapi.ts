// GET /openapi.json: the routes of this server, with what the table says of them.

import type { RouteOptions } from "fastify";
import { packageVersion } from "../../system/package.js";
import type { Register, ServerContext } from "../context.js";
import { type FieldRow, type RouteRow, routeRows } from "./reference.js";

/** Registered before all others, whose routes it lists. */
export const register: Register = (app, context) => {
  const routes: Route[] = [];
  app.addHook("onRoute", ({ method, url, prefix = "" }: RouteOptions & { prefix?: string }) => {
    for (const one of [method].flat()) {
      routes.push({ method: one, path: url.slice(prefix.length) });
    }
  });
  app.get("/openapi.json", async () => describeRoutes(context, routes));
};

interface Route {
  method: string;
  path: string;
}

function describeRoutes({ options }: ServerContext, routes: readonly Route[]): object {
  const rows = routeRows();
  const paths: Record<string, Record<string, object>> = {};
  for (const { method, path } of routes.filter(isDescribed)) {
    const row = rows.find((one) => one.method === method && one.paths.includes(path));
    const name = path.replace(/:(\w+)/g, "{$1}").replace("*", "{id}");
    paths[name] = { ...paths[name], [method.toLowerCase()]: describeRoute(name, row) };
  }
  return {
    openapi: "3.1.0",
    info: { title: "bitnet", version: packageVersion() },
    servers: [{ url: options.apiPrefix === "" ? "/" : options.apiPrefix }],
    paths,
    components: { securitySchemes: { key: { type: "http", scheme: "bearer" } } },
    security: [{}, { key: [] }],
  };
}

/** Files of the page are not part of the interface. */
function isDescribed({ method, path }: Route): boolean {
  return (
    method !== "HEAD" &&
    method !== "OPTIONS" &&
    path !== "/*" &&
    path !== "/" &&
    !/\.(html|js|css|svg|webmanifest|txt)$/.test(path)
  );
}

function describeRoute(path: string, row: RouteRow | undefined): object {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => {
    return { name, in: "path", required: true, schema: { type: "string" } };
  });
  const inQuery = (row?.query ?? []).map(({ name, schema, help, required = false }) => {
    return { name, in: "query", required, schema, description: help };
  });
  const answer = { "application/json": {} };
  const streamed = { events: { "text/event-stream": {} }, lines: { "application/x-ndjson": {} } };
  const content = row?.streams === undefined ? answer : { ...answer, ...streamed[row.streams] };
  return {
    ...(row === undefined ? {} : { summary: row.help }),
    parameters: [...inPath, ...inQuery],
    ...(row?.fields === undefined ? {} : { requestBody: describeBody(row.fields) }),
    responses: {
      "200": { description: "the answer", content },
      default: { description: "an error", content: answer },
    },
  };
}

/** null counts as absent, everywhere. */
function describeBody(fields: readonly FieldRow[]): object {
  const properties = fields.map(({ name, schema, help, required = false }) => {
    return [
      name,
      required ? { ...schema, description: help } : { anyOf: [schema, { type: "null" }], description: help },
    ];
  });
  const required = fields.filter((row) => row.required).map(({ name }) => name);
  const schema = { type: "object", properties: Object.fromEntries(properties), required };
  return { required: true, content: { "application/json": { schema } } };
}
