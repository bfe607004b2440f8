import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { endpointTables, routeRows, type ValueSchema } from "../../src/serve/api/reference.js";
import { root } from "../support/fixtures.js";
import { readError, startTestServer, type TestServer } from "../support/serve.js";

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server[Symbol.asyncDispose]());

const nameOf = (path: string) => path.replace(/:(\w+)/g, "{$1}").replace("*", "{id}");

describe("/openapi.json", () => {
  it("has every route of the table, and the table every route but those of operators, batches and the page", async () => {
    const { openapi, paths } = await server.read("/openapi.json");
    expect(openapi).toBe("3.1.0");
    const described = Object.entries(paths as Record<string, Record<string, { summary?: string }>>).flatMap(
      ([path, methods]) => Object.entries(methods).map(([method, { summary }]) => ({ path, method, summary })),
    );
    for (const { method, paths: names } of routeRows()) {
      for (const path of names) {
        expect(described).toContainEqual({
          ...{ path: nameOf(path), method: method.toLowerCase(), summary: expect.any(String) },
        });
      }
    }
    const others = described.filter(({ summary }) => summary === undefined).map(({ path }) => path);
    expect(others.filter((path) => !/^\/(admin|metrics|v1\/files|v1\/batches|assets)\b/.test(path))).toEqual([]);
  });

  it("docs/endpoints.md is written from the same table", () => {
    const page = readFileSync(join(root, "docs", "endpoints.md"), "utf8");
    expect(page.split("<!-- tables -->\n\n")[1]).toBe(endpointTables());
  });
});

/** Bodies that lack nothing, but for the field that is tried. */
const samples: Readonly<Record<string, unknown>> = {
  messages: [{ role: "user", content: "Hi" }],
  prompt: "Hi",
  input: "Hi",
  tokens: [1],
  query: "Hi",
};

/** What no route takes as such a value. */
function wrongFor({ type, anyOf, items }: ValueSchema): unknown {
  const types = Array.isArray(anyOf) ? anyOf.map((one: ValueSchema) => one.type) : [type];
  return items === undefined && types.includes("number") ? "wrong" : types.includes("integer") ? "wrong" : 5;
}

const tried = routeRows()
  .filter(({ paths }) => paths[0] !== "/slots/:place")
  .flatMap(({ paths: [path = ""], fields = [] }) => fields.map((row) => ({ path, fields, row, name: row.name })));

describe("each field of the table is one that its route reads", () => {
  it.each(tried)("$path $name", async ({ path, fields, row }) => {
    const needed = fields.filter(({ required }) => required).map(({ name }) => [name, samples[name]]);
    const content = path === "/tokenize" && row.name !== "prompt" ? { content: "Hi" } : {};
    const body = { ...content, ...Object.fromEntries(needed), [row.name]: wrongFor(row.schema) };
    const response = await server.post(path, body);
    expect(response.status).toBe(400);
    const error = await readError(response);
    expect(typeof error === "string" ? error : error.message).toContain(row.name);
  });
});
