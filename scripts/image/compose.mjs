// Runs deploy/docker/compose.yaml where no container engine is: its services as processes in containers.mjs, with its
// commands, users, networks, health checks, mounts, limits and order. Two servers, so that Redis has something to share. As root:
//   node scripts/image/compose.mjs --bases DIR --image OUT
// OUT is what build.mjs wrote. It prints what it saw, and ends with 1 if something is not as it should be.

import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import { Container, makeVolume, Networks } from "./containers.mjs";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const { values } = parseArgs({ options: { bases: { type: "string" }, image: { type: "string" } } });
if (values.bases === undefined || values.image === undefined) {
  throw new Error("usage: compose.mjs --bases DIR --image OUT");
}
const bases = resolve(values.bases);
const out = resolve(values.image);

/** What the official images say of themselves, and our own. */
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const official = { env: { PATH: path }, workdir: "/", entrypoint: [] };
const images = {
  server: { root: join(out, "root"), ...JSON.parse(readFileSync(join(out, "image.json"), "utf8")) },
  nginx: { ...official, root: join(bases, "nginx"), cmd: ["nginx", "-g", "daemon off;"], stopSignal: "SIGQUIT" },
  redis: { ...official, root: join(bases, "redis"), workdir: "/data", stopSignal: "SIGTERM" },
};

const project = mkdtempSync(join(tmpdir(), "bitnet-compose-"));
chmodSync(project, 0o755); // every container has another user
const compose = parse(
  readFileSync(join(repository, "deploy", "docker", "compose.yaml"), "utf8").replace(
    /\$\{(\w+):-([^}]*)\}/g,
    (_, name, otherwise) => process.env[name] ?? otherwise,
  ),
);
const networks = new Networks(project);
const running = [];
const started = performance.now();

function say(text) {
  console.log(`${((performance.now() - started) / 1000).toFixed(1).padStart(6)} s  ${text}`);
}

function bytesOf(text) {
  const [, count, unit] = /^(\d+)([mg])$/.exec(text);
  return Number(count) * (unit === "g" ? 2 ** 30 : 2 ** 20);
}

/** A mount of the short form; what is of the repository comes from there, the rest from the project's folder. */
function readVolume(text, user) {
  const [from, to, mode] = text.split(":");
  const isReadOnly = mode === "ro";
  if (from.startsWith("./deploy/")) {
    return { from: join(repository, from), to, isReadOnly, isFolder: false };
  }
  const place = join(project, basename(from));
  if (!from.startsWith("./")) {
    makeVolume(place, user);
  }
  return { from: place, to, isReadOnly, isFolder: true };
}

async function startService(name) {
  const service = compose.services[name];
  const image = images[name];
  const user = service.user ?? image.user;
  const { namespace, addresses } = await networks.join(name, service.networks);
  const resolver = join(project, "resolv.conf");
  writeFileSync(resolver, "nameserver 127.0.0.11\n");
  const secrets = (service.secrets ?? []).map((secret) => ({
    from: join(project, basename(compose.secrets[secret].file)),
    to: `/run/secrets/${secret}`,
    isReadOnly: true,
    isFolder: false,
  }));
  assert.equal(service.read_only, true);
  const container = new Container({
    root: image.root,
    args: [...image.entrypoint, ...(service.command ?? image.cmd)],
    env: image.env,
    user,
    workdir: image.workdir,
    binds: [
      { from: resolver, to: "/etc/resolv.conf", isReadOnly: true, isFolder: false },
      ...(service.volumes ?? []).map((text) => readVolume(text, user)),
      ...secrets,
    ],
    tmpfs: (service.tmpfs ?? []).map((text) => text.split(":")[0]),
    isReadOnly: service.read_only,
    namespace,
    log: join(project, `${namespace}.log`),
    memory: bytesOf(service.deploy.resources.limits.memory),
  });
  container.start();
  const [, ...check] = service.healthcheck.test;
  const entry = { name, container, addresses, check, stopSignal: image.stopSignal };
  running.push(entry);
  return entry;
}

async function untilHealthy({ name, container, check }) {
  const from = performance.now();
  for (;;) {
    const { status } = container.exec(check);
    if (status === 0) {
      say(`${name} is healthy ${((performance.now() - from) / 1000).toFixed(1)} s after its start`);
      return;
    }
    assert.ok(container.isRunning, `${name} has ended:\n${container.output}`);
    await sleep(100);
  }
}

/** Services after those that they depend on. */
async function up() {
  const order = [];
  const visit = (name) => {
    const needs = compose.services[name].depends_on ?? {};
    for (const [other, { condition }] of Object.entries(needs)) {
      assert.equal(condition, "service_healthy");
      visit(other);
    }
    if (!order.includes(name)) {
      order.push(name);
    }
  };
  Object.keys(compose.services).forEach(visit);
  say(`the order is ${order.join(", ")}`);
  for (const name of order) {
    for (let i = 0; i < (name === "server" ? 2 : 1); i++) {
      await untilHealthy(await startService(name));
    }
  }
}

const messages = [{ role: "user", content: "Tell me a story." }];

async function ask(url, key, options = {}) {
  return await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
    body: JSON.stringify({ messages, max_tokens: 12, temperature: 0, ...options }),
  });
}

/** Metrics of each server, read inside of its container. */
function countAnswers() {
  const script = "fetch('http://127.0.0.1:9090/metrics').then((r) => r.text()).then(console.log)";
  return running
    .filter(({ name }) => name === "server")
    .map(({ container }) => {
      const { stdout } = container.exec(["node", "-e", script]);
      const lines = stdout.split("\n").filter((line) => line.startsWith("vllm:request_success_total"));
      return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
    });
}

async function check() {
  const nginx = running.find(({ name }) => name === "nginx");
  const [server, other] = running.filter(({ name }) => name === "server");
  const url = `http://${nginx.addresses.world}:8080`;

  const whole = await (await ask(url, "chat-key")).json();
  const stream = await ask(url, "chat-key", { stream: true });
  assert.equal(stream.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const events = (await stream.text()).trim().split("\n\n");
  assert.equal(events.pop(), "data: [DONE]");
  const pieces = events.map((event) => JSON.parse(event.slice("data: ".length)).choices[0]?.delta.content ?? "");
  assert.equal(pieces.join(""), whole.choices[0].message.content);
  say(`a chat through nginx, and the same in ${pieces.length} events`);

  assert.equal((await ask(url, "wrong")).status, 401);
  assert.equal((await fetch(`${url}/metrics`)).status, 404);

  const statuses = [];
  for (let i = 0; i < 8; i++) {
    const answer = await ask(url, "bounded-key");
    await answer.text();
    statuses.push(answer.status);
  }
  const answered = countAnswers();
  say(`a key of 4 a minute: ${statuses.join(" ")}; the servers have answered ${answered.join(" and ")}`);
  assert.deepEqual(statuses, [200, 200, 200, 200, 429, 429, 429, 429]);
  assert.ok(answered.every((count) => count > 0));

  const reach = (host) =>
    `require('net').connect(6379, '${host}').on('connect', () => process.exit(0)).on('error', () => process.exit(1))`;
  const redis = running.find(({ name }) => name === "redis");
  assert.equal(server.container.exec(["node", "-e", reach("redis")]).status, 0);
  assert.notEqual(nginx.container.exec(["wget", "-q", "-T", "2", `http://${redis.addresses.limits}:6379`]).status, 0);
  const touch = server.container.exec(["node", "-e", "require('fs').writeFileSync('/app/x', '')"]);
  assert.match(touch.stderr, /EROFS/);
  say("servers reach Redis, nginx does not; nobody can write to the root file system");

  for (const { name, container } of running) {
    say(`${name} has ${(container.memory / 1e6).toFixed(0)} MB`);
  }

  // One leaves while it answers: the answer ends as it should, and the other one goes on for all.
  const long = await Promise.all([1, 2].map(() => ask(url, "chat-key", { stream: true, max_tokens: 200 })));
  networks.leave("server", other.addresses);
  const left = performance.now();
  const status = other.container.stop("SIGTERM");
  const texts = await Promise.all(long.map((answer) => answer.text()));
  assert.ok(texts.every((text) => text.trim().endsWith("data: [DONE]")));
  assert.equal(await status, 0);
  say(`a server that answered is gone ${(performance.now() - left).toFixed(0)} ms after SIGTERM, with status 0`);
  running.splice(running.indexOf(other), 1);
  for (let i = 0; i < 4; i++) {
    assert.equal((await ask(url, "chat-key")).status, 200);
  }
  say("the other one answers");
}

async function down() {
  for (const { name, container, stopSignal } of running.splice(0).reverse()) {
    const from = performance.now();
    const status = await container.stop(stopSignal);
    say(`${name} ended with ${status} ${(performance.now() - from).toFixed(0)} ms after ${stopSignal}`);
    assert.equal(status, 0, container.output);
  }
}

mkdirSync(join(project, "models"));
copyFileSync(join(repository, "models", "tiny-bitnet.gguf"), join(project, "models", "model.gguf"));
const keys = "chat-key name=me scope=chat,admin\nbounded-key name=bounded scope=chat rpm=4\n";
writeFileSync(join(project, "keys.txt"), keys, { mode: 0o400 });
const [uid, gid] = images.server.user.split(":").map(Number);
chownSync(join(project, "keys.txt"), uid, gid);
try {
  for (const [name, network] of Object.entries(compose.networks)) {
    networks.add(name, network.internal === true);
  }
  await up();
  await check();
  await down();
} catch (error) {
  for (const { name, container } of running) {
    console.error(`--- ${name}\n${container.output}`);
    if (container.isRunning) {
      await container.stop("SIGKILL");
    }
  }
  throw error;
} finally {
  networks.close();
  rmSync(project, { recursive: true });
}
