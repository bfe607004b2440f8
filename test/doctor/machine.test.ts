// What the doctor tells of machines, which are made of files here.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { readCgroup } from "../../src/doctor/cgroup.js";
import { checkDisk } from "../../src/doctor/disk.js";
import { watchLoad } from "../../src/doctor/load.js";
import { checkMemory } from "../../src/doctor/memory.js";
import { listMounts, mountOf } from "../../src/doctor/mounts.js";
import { checkNetwork } from "../../src/doctor/network.js";
import { checkProcessor, countList } from "../../src/doctor/processor.js";
import { checkProgram } from "../../src/doctor/program.js";
import { checkSettings } from "../../src/doctor/settings.js";
import { SystemFiles } from "../../src/doctor/system-files.js";
import { BitnetError } from "../../src/system/errors.js";
import { addonWith, contextOf, writeFiles } from "../support/doctor-context.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-doctor-"));
afterAll(() => rmSync(folder, { recursive: true }));

function machine(name: string, files: Readonly<Record<string, string>>): string {
  const root = join(folder, name);
  writeFiles(root, { "/etc/os-release": 'PRETTY_NAME="Test OS 1"\n', ...files });
  return root;
}

const v2 = "29 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
const v1 = [
  "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
  "32 30 0:29 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
].join("");

describe("cgroups", () => {
  test("version 2: the smallest quota and limit of the groups above count, and what throttled them", () => {
    const root = machine("v2", {
      "/proc/self/mountinfo": v2,
      "/proc/self/cgroup": "0::/a.slice/b.scope\n",
      "/sys/fs/cgroup/a.slice/cpu.max": "150000 100000\n",
      "/sys/fs/cgroup/a.slice/memory.max": "1073741824\n",
      "/sys/fs/cgroup/a.slice/memory.current": "500000000\n",
      "/sys/fs/cgroup/a.slice/memory.stat": "anon 5\ninactive_file 100000000\n",
      "/sys/fs/cgroup/a.slice/b.scope/cpu.max": "max 100000\n",
      "/sys/fs/cgroup/a.slice/b.scope/memory.max": "max\n",
      "/sys/fs/cgroup/a.slice/b.scope/cpu.stat": "nr_periods 20\nnr_throttled 5\nthrottled_usec 1500000\n",
    });
    expect(readCgroup(new SystemFiles(root))).toEqual({
      cpus: 1.5,
      memoryLimit: 2 ** 30,
      memoryUsed: 400_000_000,
      periods: 20,
      throttled: 5,
      throttledSeconds: 1.5,
    });
  });

  test("version 1, seen from within a container", () => {
    const root = machine("v1", {
      "/proc/self/mountinfo": v1,
      "/proc/self/cgroup": "4:cpu,cpuacct:/\n3:memory:/docker/x\n",
      "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
      "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
      "/sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n",
      "/sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
    });
    expect(readCgroup(new SystemFiles(root))).toMatchObject({ cpus: 0.5, memoryLimit: 2 ** 29, memoryUsed: 1000 });
  });

  test("without limits there are none, and without /proc nothing is known", () => {
    const root = machine("free", {
      "/proc/self/mountinfo": v2,
      "/proc/self/cgroup": "0::/\n",
      "/sys/fs/cgroup/memory.limit_in_bytes": "9223372036854771712\n",
    });
    expect(readCgroup(new SystemFiles(root))).toMatchObject({ cpus: null, memoryLimit: null });
    expect(readCgroup(new SystemFiles(join(folder, "nowhere")))).toBeUndefined();
  });
});

test("a path lies on the mount that is nearest to it, also below names with spaces", () => {
  const root = machine("mounts", {
    "/proc/self/mountinfo":
      "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:5 / /mnt/my\\040models rw - nfs4 host:/x rw\n3 1 0:6 / /mnt tmpfs\n",
  });
  const mounts = listMounts(new SystemFiles(root));
  expect(mounts.map(({ type }) => type)).toEqual(["ext4", "nfs4"]);
  expect(mountOf(mounts, "/mnt/my models/a.gguf")?.type).toBe("nfs4");
  expect(mountOf(mounts, "/mnt/my modelsX")?.type).toBe("ext4");
});

describe("the program", () => {
  test("a container and the system's name are seen", () => {
    const root = machine("docker", { "/.dockerenv": "" });
    expect(checkProgram(contextOf(root)).facts).toMatchObject({ container: "Docker", system: "Test OS 1", wsl: null });
  });

  test("WSL 1 is told of, WSL 2 is no matter", () => {
    const first = machine("wsl1", { "/proc/version": "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)" });
    const second = machine("wsl2", { "/proc/version": "Linux version 5.15.90.1-microsoft-standard-WSL2" });
    expect(checkProgram(contextOf(first))).toMatchObject({ status: "note", facts: { wsl: 1 } });
    expect(checkProgram(contextOf(second))).toMatchObject({ facts: { wsl: 2 }, advice: [] });
  });

  test("what the system itself says is translated is a warning, whatever the processor is called", () => {
    const native = addonWith({ isTranslated: () => true });
    const { status, advice } = checkProgram(contextOf(machine("plain", {}), { native }));
    expect({ status, what: advice[0]?.what }).toEqual({
      status: "warning",
      what: expect.stringContaining("translated"),
    });
  });

  test.each([
    ["Rosetta", { vendor: "VirtualApple", brand: "VirtualApple @ 2.50GHz", hypervisor: "" }],
    ["QEMU", { vendor: "AuthenticAMD", brand: "QEMU Virtual CPU", hypervisor: "TCGTCGTCGTCG" }],
  ])("%s, which translates every instruction, is a warning", (name, cpu) => {
    const native = addonWith({ describeCpu: () => ({ ...cpu, features: [] }) });
    const { status, facts, advice } = checkProgram(contextOf(machine("plain", {}), { native }));
    expect({ status, translator: facts?.translator }).toEqual({ status: "warning", translator: name });
    expect(advice[0]?.what).toContain(name);
  });

  test("without the native part the rest is told", () => {
    const native = new BitnetError("INTERNAL", "no native part", { hint: "build it" });
    const { status, facts, advice } = checkProgram(contextOf(machine("plain", {}), { native }));
    expect({ status, addon: facts?.addon }).toEqual({ status: "problem", addon: null });
    expect(advice).toEqual([{ status: "problem", what: "no native part", next: "build it" }]);
  });
});

describe("the processor", () => {
  const old = addonWith({
    kernels: () => [
      { name: "avx2", supported: false, lacks: ["AVX2 with FMA and F16C"] },
      { name: "scalar", supported: true, lacks: [] },
    ],
    describeCpu: () => ({ vendor: "GenuineIntel", brand: "Old", hypervisor: "", features: [] }),
  });

  test("a processor without AVX2 is a warning, and in a virtual machine it is told how to see all of it", async () => {
    const root = machine("plain", {});
    const alone = await checkProcessor(contextOf(root, { native: old }));
    expect(alone).toMatchObject({ status: "warning", facts: { kernel: "scalar", chosenBy: "processor" } });
    expect(alone.advice[0]?.what).toContain("AVX2");
    const guest = machine("guest", { "/proc/cpuinfo": "flags\t\t: fpu sse2 hypervisor\n" });
    const { advice } = await checkProcessor(contextOf(guest, { native: old }));
    expect(advice[0]?.next).toContain("virtual machine");
  });

  test("BITNET_KERNEL with a kernel that does not run here is a problem, and with a lesser one a warning", async () => {
    const root = machine("plain", {});
    const wrong = await checkProcessor(contextOf(root, { native: old, env: { BITNET_KERNEL: "avx2" } }));
    expect(wrong.advice).toEqual([
      {
        status: "problem",
        what: "BITNET_KERNEL is avx2: this processor lacks AVX2 with FMA and F16C",
        next: "set it to one of scalar, or unset it",
      },
    ]);
    const kernels = () => ["avx2", "scalar"].map((name) => ({ name, supported: true, lacks: [] }));
    const native = addonWith({ kernels });
    const lesser = await checkProcessor(contextOf(root, { native, env: { BITNET_KERNEL: "scalar" } }));
    expect(lesser).toMatchObject({ status: "warning", facts: { kernel: "scalar", chosenBy: "BITNET_KERNEL" } });
  });

  test("AMX that the system does not hand out is worth a note", async () => {
    const root = machine("amx", { "/proc/cpuinfo": "flags\t\t: fpu amx_bf16 amx_tile amx_int8\n" });
    const kernels = () => [
      { name: "amx", supported: false, lacks: ["AMX INT8"] },
      { name: "avx2", supported: true, lacks: [] },
      { name: "scalar", supported: true, lacks: [] },
    ];
    const { status, advice } = await checkProcessor(contextOf(root, { native: addonWith({ kernels }) }));
    expect(status).toBe("note");
    expect(advice[0]?.what).toContain("AMX");
  });

  test("half a CPU is a warning, and a governor that saves power a note", async () => {
    const root = machine("half", {
      "/proc/self/mountinfo": v2,
      "/proc/self/cgroup": "0::/\n",
      "/sys/fs/cgroup/cpu.max": "50000 100000\n",
      "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
      "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0-1\n",
      "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list": "0-1\n",
    });
    const { facts, advice } = await checkProcessor(contextOf(root));
    expect(facts).toMatchObject({ quota: 0.5, cores: 1, governor: "powersave" });
    expect(advice.map(({ status }) => status)).toEqual(["warning", "note"]);
  });

  test("lists of processors are counted", () => {
    expect(countList("0-3,8,10-11")).toBe(7);
  });
});

describe("memory", () => {
  const group = (limit: number, used = 0) => ({
    "/proc/self/mountinfo": v2,
    "/proc/self/cgroup": "0::/\n",
    "/sys/fs/cgroup/memory.max": `${limit}\n`,
    "/sys/fs/cgroup/memory.current": `${used}\n`,
  });

  test("a model that the cgroup has no room for is a problem", () => {
    const { status, facts, advice } = checkMemory(contextOf(machine("tight", group(2 ** 25))));
    expect(status).toBe("problem");
    expect(facts).toMatchObject({ cgroupLimitBytes: 2 ** 25, model: { fits: false, contextSize: 512 } });
    expect(advice[0]?.next).toContain("bitnet plan");
  });

  test("one that would fit if others took less is a warning", () => {
    const { status, facts } = checkMemory(contextOf(machine("full", group(2 ** 27, 2 ** 27 - 2 ** 20))));
    expect(status).toBe("warning");
    expect(facts?.availableBytes).toBe(2 ** 20);
  });

  test("huge pages that are off and swap in use are notes", () => {
    const root = machine("pages", {
      "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
      "/proc/meminfo": "MemTotal: 100 kB\nSwapTotal:       1000000 kB\nSwapFree:         100000 kB\n",
    });
    const { status, facts, advice } = checkMemory(contextOf(root));
    expect({ status, notes: advice.length }).toEqual({ status: "note", notes: 2 });
    expect(facts).toMatchObject({ hugePages: "never", swapBytes: 1_024_000_000, swapUsedBytes: 921_600_000 });
  });

  test("where /proc and /sys are not, what Node tells is told", () => {
    const { status, facts } = checkMemory(contextOf(join(folder, "nowhere")));
    expect(status).toBe("ok");
    expect(facts).toMatchObject({ hugePages: null, swapBytes: null, pageBytes: null, model: { fits: true } });
  });
});

test("what took the processor during a measurement is counted", () => {
  const stat = (steal: number, idle: number) => `cpu  100 0 100 ${idle} 0 0 0 ${steal} 0 0\n`;
  const throttled = (count: number) => `nr_periods ${10 * count}\nnr_throttled ${count}\nthrottled_usec 0\n`;
  const base = { "/proc/self/mountinfo": v2, "/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "50000 100000" };
  const root = machine("busy", { ...base, "/proc/stat": stat(0, 0), "/sys/fs/cgroup/cpu.stat": throttled(1) });
  const end = watchLoad(new SystemFiles(root));
  writeFiles(root, { "/proc/stat": stat(25, 75), "/sys/fs/cgroup/cpu.stat": throttled(3) });
  expect(end(1)).toMatchObject({ stealShare: 0.25, throttledShare: 0.1, heatEvents: null });
});

describe("disk", () => {
  test("a file in the place of a folder is a problem of it", async () => {
    const file = join(folder, "a-file");
    writeFileSync(file, "");
    const { status, facts, advice } = await checkDisk(contextOf("", { env: { BITNET_MODELS: file } }));
    expect(status).toBe("warning");
    const models = facts?.places.find(({ what }) => what === "models");
    expect(models).toMatchObject({ writable: false, problem: "it is not a directory" });
    expect(advice[0]?.next).toContain("BITNET_MODELS");
  });

  test("a folder of temporary files that is not there is not made by anybody", async () => {
    vi.stubEnv("TMPDIR", join(folder, "no", "tmp")).stubEnv("TEMP", join(folder, "no", "tmp"));
    const { facts, advice } = await checkDisk(contextOf("")).finally(() => vi.unstubAllEnvs());
    const temporary = facts?.places.find(({ what }) => what === "temporary");
    expect(temporary).toMatchObject({ writable: false, problem: "no such directory" });
    expect(advice.map(({ next }) => next)).toContain("set TMPDIR");
  });

  test("a name that means no file has no folder", async () => {
    const modelProblem = new BitnetError("NOT_FOUND", "owner/name is not on this machine");
    const { facts } = await checkDisk(contextOf("", { model: "owner/name", modelProblem }));
    expect(facts?.places.find(({ what }) => what === "model")?.path).toBeNull();
  });

  test("on Windows the files of Linux are not looked at, whoever shows them", () => {
    const seen = (["linux", "win32"] as const).map((platform) => SystemFiles.of(platform).exists(process.execPath));
    expect(seen).toEqual([true, false]);
    expect(SystemFiles.of("win32").read(process.execPath)).toBeUndefined();
    expect(SystemFiles.of("win32").list(folder)).toEqual([]);
  });
});

describe("settings and network", () => {
  test("values of secrets are nowhere, of proxies the host alone", async () => {
    const env = {
      HF_TOKEN: "hf_secret123456",
      https_proxy: "http://alice:password@proxy.example:8080",
      BITNET_KERNEL: "scalar",
      OTHER: "x",
    };
    const variables = ["HF_TOKEN", "https_proxy", "BITNET_*"];
    const settings = await checkSettings(contextOf(folder, { env, variables }));
    const network = await checkNetwork(contextOf(folder, { env }));
    expect(settings.facts?.variables).toEqual([
      { name: "BITNET_KERNEL", value: "scalar" },
      { name: "HF_TOKEN", value: null },
      { name: "https_proxy", value: null },
    ]);
    expect(network.facts).toMatchObject({ proxy: "proxy.example:8080", tokenSource: "HF_TOKEN", online: null });
    expect(JSON.stringify([settings, network])).not.toMatch(/secret|password|alice/);
  });

  test("an address of the hub that is none is a problem", async () => {
    const { status, advice } = await checkNetwork(contextOf(folder, { env: { HF_ENDPOINT: "nonsense" } }));
    expect(status).toBe("problem");
    expect(advice[0]?.what).toContain("HF_ENDPOINT");
  });

  test("a hub that cannot be reached is a problem, but only where it is asked", async () => {
    const env = { HF_ENDPOINT: "http://127.0.0.1:9", HOME: folder };
    expect(await checkNetwork(contextOf(folder, { env }))).toMatchObject({ status: "ok" });
    const asked = await checkNetwork(contextOf(folder, { env, online: true }));
    expect(asked).toMatchObject({ status: "problem", facts: { online: { reached: false } } });
  });

  test("a file of options that cannot be read is a problem", async () => {
    const { status } = await checkSettings(contextOf(folder, { settingsFiles: [join(folder, "none.json")] }));
    expect(status).toBe("problem");
  });
});
