// Processes in what a container has: a file system of its own, usually read-only, a user without rights, a network
// namespace on bridges, names from a DNS server at 127.0.0.11, a limit of memory. For Linux as root, with bubblewrap and ip.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const dnsServer = fileURLToPath(new URL("dns.mjs", import.meta.url));

function ip(...args) {
  const { status, stderr } = spawnSync("ip", args, { encoding: "utf8" });
  if (status !== 0) {
    throw new Error(`ip ${args.join(" ")}: ${stderr}`);
  }
}

/** Bridges and the addresses on them. `isInternal` ones have no address of this machine, so nobody leaves them. */
export class Networks {
  #bridges = new Map();
  #namespaces = [];
  #names;
  #processes = [];

  constructor(folder) {
    this.#names = join(folder, "names.json");
    writeFileSync(this.#names, "{}");
  }

  add(name, isInternal) {
    const subnet = 200 + this.#bridges.size;
    const bridge = `bn-${process.pid}-${this.#bridges.size}`;
    this.#bridges.set(name, { bridge, subnet, hosts: 1 });
    ip("link", "add", bridge, "type", "bridge");
    ip("link", "set", bridge, "up");
    if (!isInternal) {
      ip("addr", "add", `10.213.${subnet}.1/24`, "dev", bridge);
    }
  }

  /** A namespace for a container, with an interface on each network; its addresses by network. */
  async join(service, networks) {
    const namespace = `bn-${process.pid}-${this.#namespaces.length}`;
    ip("netns", "add", namespace);
    this.#namespaces.push(namespace);
    ip("-n", namespace, "link", "set", "lo", "up");
    const addresses = {};
    const names = JSON.parse(readFileSync(this.#names, "utf8"));
    networks.forEach((network, i) => {
      const bridge = this.#bridges.get(network);
      const host = ++bridge.hosts;
      const [outside, inside] = [`b${process.pid}-${bridge.subnet}-${host}`, `eth${i}`];
      ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", namespace);
      ip("link", "set", outside, "master", bridge.bridge, "up");
      addresses[network] = `10.213.${bridge.subnet}.${host}`;
      ip("-n", namespace, "addr", "add", `${addresses[network]}/24`, "dev", inside);
      ip("-n", namespace, "link", "set", inside, "up");
      names[network] ??= {};
      names[network][service] = [...(names[network][service] ?? []), addresses[network]];
    });
    writeFileSync(this.#names, JSON.stringify(names));
    const args = ["netns", "exec", namespace, process.execPath, dnsServer, this.#names, ...networks];
    const server = spawn("ip", args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#processes.push(server);
    await once(server.stdout, "data"); // it listens
    return { namespace, addresses };
  }

  /** Its name no longer leads there. */
  leave(service, addresses) {
    const names = JSON.parse(readFileSync(this.#names, "utf8"));
    for (const [network, address] of Object.entries(addresses)) {
      names[network][service] = names[network][service].filter((other) => other !== address);
    }
    writeFileSync(this.#names, JSON.stringify(names));
  }

  close() {
    for (const child of this.#processes) {
      child.kill("SIGKILL");
    }
    for (const namespace of this.#namespaces) {
      spawnSync("ip", ["netns", "del", namespace]);
    }
    for (const { bridge } of this.#bridges.values()) {
      spawnSync("ip", ["link", "del", bridge]);
    }
  }
}

/** What a mount needs in the file system; an engine makes it, too. */
function makePlace(root, path, isFolder) {
  const place = join(root, path);
  if (!existsSync(place)) {
    mkdirSync(isFolder ? place : dirname(place), { recursive: true });
    if (!isFolder) {
      writeFileSync(place, "");
    }
  }
}

export class Container {
  #options;
  #child;
  #group;
  #exited;

  /**
   * `root`, `args`, `env`, `user` "uid:gid", `workdir`, `binds` [{ from, to, isReadOnly, isFolder }], `tmpfs` paths,
   * `isReadOnly`, `namespace` of the network, `memory` bytes, `log` file of its output
   */
  constructor(options) {
    this.#options = options;
    for (const { to, isFolder } of options.binds) {
      makePlace(options.root, to, isFolder);
    }
    for (const path of options.tmpfs) {
      makePlace(options.root, path, true);
    }
    if (options.memory !== undefined) {
      this.#group = `/sys/fs/cgroup/memory/${options.namespace}`;
      mkdirSync(this.#group, { recursive: true });
      writeFileSync(join(this.#group, "memory.limit_in_bytes"), String(options.memory));
    }
  }

  #command(args) {
    const { root, env, user, workdir, binds, tmpfs, isReadOnly, namespace } = this.#options;
    const [uid, gid] = user.split(":");
    const command = ["ip", "netns", "exec", namespace, "setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
    command.push("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "bwrap");
    command.push(isReadOnly ? "--ro-bind" : "--bind", root, "/", "--proc", "/proc", "--dev", "/dev");
    for (const path of tmpfs) {
      command.push("--tmpfs", path);
    }
    for (const { from, to, isReadOnly: isBindReadOnly } of binds) {
      command.push(isBindReadOnly ? "--ro-bind" : "--bind", from, to);
    }
    command.push("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent", "--clearenv");
    for (const [key, value] of Object.entries(env)) {
      command.push("--setenv", key, value);
    }
    command.push("--chdir", workdir, "--", ...args);
    return this.#group === undefined
      ? command
      : ["sh", "-c", `echo $$ > ${this.#group}/cgroup.procs; exec "$@"`, "sh", ...command];
  }

  start() {
    const [program, ...args] = this.#command(this.#options.args);
    // What can be opened anew by any user, as the pipe of an engine.
    const log = openSync(this.#options.log, "a");
    chmodSync(this.#options.log, 0o666);
    this.#child = spawn(program, args, { stdio: ["ignore", log, log] });
    closeSync(log);
    this.#exited = new Promise((resolve) => {
      this.#child.on("close", (code, signal) => resolve(code ?? signal));
    });
  }

  get output() {
    return readFileSync(this.#options.log, "utf8");
  }

  get isRunning() {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Another program in the same container: its status and what it prints. */
  exec(args) {
    const [program, ...rest] = this.#command(args);
    return spawnSync(program, rest, { encoding: "utf8", timeout: 60_000 });
  }

  /** Bytes, as the limit counts them: pages of files that it has read, too. */
  get memory() {
    return Number(readFileSync(join(this.#group, "memory.usage_in_bytes"), "utf8"));
  }

  /** The process that was started inside, as this machine numbers it: the only child of bubblewrap. */
  get pid() {
    const children = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return Number(children(this.#child.pid)[0]);
  }

  /** Sends a signal to the process and waits for its end; its status. */
  async stop(signal) {
    if (this.isRunning) {
      process.kill(this.pid, signal);
    }
    const status = await this.#exited;
    if (this.#group !== undefined) {
      rmdirSync(this.#group);
    }
    return status;
  }
}

/** A volume that belongs to a user. */
export function makeVolume(path, user) {
  mkdirSync(path, { recursive: true });
  const [uid, gid] = user.split(":").map(Number);
  chownSync(path, uid, gid);
}
