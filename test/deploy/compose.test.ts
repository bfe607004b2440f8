// deploy/docker/compose.yaml and the files that it mounts. scripts/image runs all of it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv } from "ajv";
import { Redis } from "ioredis";
import { describe, expect, test } from "vitest";
import { standardOptions } from "../../src/serve/options.js";
import { at, read, texts, valueAfter } from "../support/deploy.js";
import { root } from "../support/fixtures.js";
import { readYaml } from "../support/read-yaml.js";

const [compose] = readYaml(read("docker", "compose.yaml"));
const names = ["server", "nginx", "redis"];
const command = texts(at(compose, "services", "server", "command"));

// What of the Compose Specification (https://compose-spec.io) the file uses, as JSON schemas.
const text = { type: "string", minLength: 1 };
const list = { type: "array", items: text, minItems: 1 };
const duration = { type: "string", pattern: "^(\\d+(ms|s|m|h))+$" };
const object = (properties: Record<string, unknown>, required: string[] = []) => ({
  ...{ type: "object", properties, required },
  additionalProperties: false,
});
const mapOf = (additionalProperties: unknown) => ({ type: "object", additionalProperties });
const orNothing = (schema: object) => ({ anyOf: [{ type: "null" }, schema] });
const healthcheck = object(
  {
    ...{ test: list, retries: { type: "integer", minimum: 1 } },
    ...{ interval: duration, timeout: duration, start_period: duration, start_interval: duration },
  },
  ["test"],
);
const service = object(
  {
    build: object({ context: text, dockerfile: text, args: mapOf(text) }),
    ...{ image: text, user: text, command: list, entrypoint: list, init: { type: "boolean" } },
    ...{ read_only: { type: "boolean" }, tmpfs: list, cap_drop: list, security_opt: list },
    ...{ networks: list, ports: list, volumes: list, secrets: list, environment: mapOf(text) },
    depends_on: mapOf(object({ condition: { enum: ["service_healthy"] } }, ["condition"])),
    deploy: object({ resources: object({ limits: object({ memory: text, pids: { type: "integer" } }) }) }),
    logging: object({ driver: text, options: mapOf(text) }),
    ...{ healthcheck, stop_grace_period: duration, restart: { enum: ["unless-stopped"] } },
  },
  ["image"],
);
const composeFile = object(
  {
    ...{ name: text, services: mapOf(service), secrets: mapOf(object({ file: text }, ["file"])) },
    ...{ volumes: mapOf(orNothing(object({}))), networks: mapOf(orNothing(object({ internal: { type: "boolean" } }))) },
  },
  ["services"],
);

test("is a compose file, and all that it names is there", () => {
  const ajv = new Ajv();
  ajv.validate(composeFile, compose);
  expect(ajv.errors).toBeNull();
  expect(Object.keys(at(compose, "services") as object)).toEqual(names);
  for (const what of ["networks", "secrets"]) {
    const used = names.flatMap((name) => (at(compose, "services", name) as Record<string, string[]>)[what] ?? []);
    expect(Object.keys(at(compose, what) as object).sort()).toEqual([...new Set(used)].sort());
  }
});

describe.each(names)("%s", (name) => {
  const service = at(compose, "services", name);

  test("has a root that cannot be written, no rights, and no user of power", () => {
    expect(service).toMatchObject({
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
    });
    // The image of the server has a user of its own.
    expect(name === "server" || /^[1-9]\d*:\d+$/.test(String(at(service, "user")))).toBe(true);
  });

  test("is bounded in memory, processes and logs, starts again, and is asked for its health", () => {
    expect(Object.keys(at(service, "deploy", "resources", "limits") as object)).toEqual(["memory", "pids"]);
    expect(Object.keys(at(service, "logging", "options") as object)).toEqual(["max-size", "max-file"]);
    expect(at(service, "restart")).toBe("unless-stopped");
    expect(texts(at(service, "healthcheck", "test"))[0]).toBe("CMD");
  });

  test("mounts files that exist", () => {
    for (const volume of texts((service as { volumes: string[] }).volumes)) {
      const [from = ""] = volume.split(":");
      expect(!from.startsWith("./deploy/") || existsSync(join(root, from))).toBe(true);
    }
  });
});

test("begins with Redis, then the server, then nginx, each when the one before is healthy", () => {
  expect(at(compose, "services", "server", "depends_on")).toEqual({ redis: { condition: "service_healthy" } });
  expect(at(compose, "services", "nginx", "depends_on")).toEqual({ server: { condition: "service_healthy" } });
});

test("nginx alone can be reached from outside, and Redis by servers alone", () => {
  const published = names.filter((name) => Object.hasOwn(at(compose, "services", name) as object, "ports"));
  expect(published).toEqual(["nginx"]);
  const networks = names.map((name) => texts(at(compose, "services", name, "networks")));
  expect(networks).toEqual([["servers", "limits"], ["world", "servers"], ["limits"]]);
  expect(at(compose, "networks")).toEqual({ world: {}, servers: { internal: true }, limits: { internal: true } });
});

test("the server has its keys as a secret, time to drain, and Redis", () => {
  expect(valueAfter(command, "--redis")).toBe("redis://redis:6379");
  const secret = valueAfter(command, "--api-key-file").replace("/run/secrets/", "");
  expect(Object.keys(at(compose, "secrets") as object)).toEqual([secret]);
  expect(texts(at(compose, "services", "server", "secrets"))).toEqual([secret]);
  for (const name of ["server", "nginx"]) {
    const grace = Number.parseInt(String(at(compose, "services", name, "stop_grace_period")), 10);
    expect(grace).toBeGreaterThan(standardOptions.drainTimeout);
  }
});

test("nginx asks the port that the server has, by the name that it has, and finds servers that come later", () => {
  const nginx = read("docker", "nginx.conf");
  expect(nginx).toMatch(new RegExp(`^ +server server:${valueAfter(command, "--port")} .*resolve;`, "m"));
  expect(nginx).toMatch(/^ +resolver 127\.0\.0\.11 valid=5s/m);
  const [listen] = texts(at(compose, "services", "nginx", "ports")).map((text) => text.split(":").at(-1));
  expect(nginx).toContain(`listen ${listen};`);
});

const redisServer = "/usr/bin/redis-server";

test.skipIf(!existsSync(redisServer))(
  `Redis takes its configuration and refuses writes when full (needs ${redisServer})`,
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "redis-conf-"));
    const socket = join(folder, "socket");
    const file = join(folder, "redis.conf");
    writeFileSync(file, read("docker", "redis.conf").replace("dir /data\n", `dir ${folder}\n`));
    const server = spawn(redisServer, [file, "--port", "0", "--unixsocket", socket]);
    const ended = once(server, "close");
    let log = "";
    await new Promise<void>((resolve) => {
      server.stdout.on("data", (data) => {
        log += String(data);
        if (/ready to accept/i.test(log)) {
          resolve();
        }
      });
      server.once("close", () => resolve());
    });
    expect(log).toMatch(/ready to accept/i);
    const client = new Redis(socket);
    const setting = async (name: string) => ((await client.config("GET", name)) as string[])[1];
    expect([await setting("maxmemory-policy"), await setting("appendonly"), await setting("save")]).toEqual([
      "noeviction",
      "yes",
      "",
    ]);
    const limit = Number(await setting("maxmemory"));
    expect(limit).toBeLessThan(512 * 2 ** 20);
    await client.config("SET", "maxmemory", "1");
    await expect(client.set("key", "value")).rejects.toThrow("OOM");
    client.disconnect();
    server.kill("SIGTERM");
    expect(await ended).toEqual([0, null]);
    rmSync(folder, { recursive: true });
  },
);
