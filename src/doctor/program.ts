// Which program this is, what it runs on, and what stands between it and the processor.

import { release, type as systemType } from "node:os";
import { addonOrigin } from "../native/addon.js";
import type { AddonOrigin } from "../native/locate.js";
import { glibcVersion, usesMusl } from "../native/platform.js";
import { packageRoot, packageVersion } from "../system/package.js";
import { type Advice, adviceOf, type Context, type Finding, findingOf } from "./check.js";
import type { SystemFiles } from "./system-files.js";

export interface ProgramFacts {
  bitnet: string;
  node: string;
  napi: string;
  /** "linux-x64" */
  platform: string;
  libc: string | null;
  system: string;
  kernel: string;
  /** The native part; null if it does not load. */
  addon: (AddonOrigin & { compiler: string; build: string }) | null;
  packageFolder: string;
  container: string | null;
  /** What the machine is a guest of. */
  hypervisor: string | null;
  /** The Linux of Windows: 1 or 2. */
  wsl: number | null;
  /** What translates every instruction: "Rosetta", "QEMU". */
  translator: string | null;
}

export function checkProgram(context: Context): Finding<ProgramFacts> {
  const { native, files, platform } = context;
  const isThere = !(native instanceof Error);
  const facts: ProgramFacts = {
    bitnet: packageVersion(),
    node: process.version,
    napi: process.versions.napi ?? "",
    platform: `${platform}-${process.arch}`,
    libc: platform === "linux" ? findLibc() : null,
    system: nameSystem(files),
    kernel: release(),
    addon: isThere ? { ...addonOrigin(), ...native.buildInfo() } : null,
    packageFolder: packageRoot,
    ...describeSurroundings(context),
  };
  const advice: Advice[] = [
    ...(isThere ? [] : [adviceOf(native)]),
    ...(facts.addon?.build === "Debug"
      ? [
          {
            status: "warning",
            what: "the native part is a debug build, which is many times slower",
            next: "npm run build",
          } as const,
        ]
      : []),
    ...adviseTranslator(facts, platform),
    ...(facts.wsl === 1
      ? [{ status: "note", what: "WSL 1 maps files slowly", next: "wsl --set-version DISTRIBUTION 2" } as const]
      : []),
  ];
  return findingOf(facts, advice);
}

/** What Node is linked to: "glibc 2.36", "musl". */
function findLibc(): string | null {
  const version = glibcVersion();
  return usesMusl() ? "musl" : version === undefined ? null : `glibc ${version}`;
}

function nameSystem(files: SystemFiles): string {
  const text = files.read("/etc/os-release") ?? files.read("/usr/lib/os-release") ?? "";
  const name = /^PRETTY_NAME=(?:"(.*)"|'(.*)'|(.*))$/m.exec(text);
  return (name?.[1] ?? name?.[2] ?? name?.[3]) || nameOther();
}

function nameOther(): string {
  const names: Partial<Record<string, string>> = { Darwin: "macOS", Windows_NT: "Windows" };
  return names[systemType()] ?? systemType();
}

type Surroundings = Pick<ProgramFacts, "container" | "hypervisor" | "wsl" | "translator">;

export function describeSurroundings({ native, files, env }: Context): Surroundings {
  const cpu = native instanceof Error ? undefined : { ...native.describeCpu(), isTranslated: native.isTranslated() };
  const version = files.read("/proc/version") ?? "";
  const isWsl = /microsoft/i.test(version);
  return {
    container: findContainer(files, env),
    hypervisor: nameHypervisor(cpu?.hypervisor ?? "") ?? findHypervisor(files),
    wsl: isWsl ? (/WSL2|microsoft-standard/i.test(version) ? 2 : 1) : null,
    translator: cpu === undefined ? null : findTranslator(cpu),
  };
}

function findContainer(files: SystemFiles, env: Context["env"]): string | null {
  if (files.exists("/var/run/secrets/kubernetes.io")) {
    return "Kubernetes";
  }
  if (files.exists("/.dockerenv")) {
    return "Docker";
  }
  if (files.exists("/run/.containerenv")) {
    return "Podman";
  }
  const groups = files.read("/proc/1/cgroup") ?? "";
  const named = /kubepods|docker|libpod|lxc|containerd/.exec(groups)?.[0];
  return named ?? (env.container || null);
}

/** By the text that guests find in CPUID. */
function nameHypervisor(text: string): string | null {
  const names: Partial<Record<string, string>> = {
    KVMKVMKVM: "KVM",
    "Microsoft Hv": "Hyper-V",
    VMwareVMware: "VMware",
    XenVMMXenVMM: "Xen",
    VBoxVBoxVBox: "VirtualBox",
    "prl hyperv": "Parallels",
    bhyve: "bhyve",
    TCGTCGTCGTCG: "QEMU without acceleration",
  };
  return text === "" ? null : (names[text.trim()] ?? text);
}

/** As Linux knows it, where the core cannot ask. */
function findHypervisor(files: SystemFiles): string | null {
  const isGuest = / hypervisor( |$)/m.test(files.read("/proc/cpuinfo") ?? "");
  const product = [files.line("/sys/class/dmi/id/sys_vendor"), files.line("/sys/class/dmi/id/product_name")];
  const known = /QEMU|KVM|VMware|VirtualBox|innotek|Xen|Amazon EC2|Google Compute Engine|Virtual Machine|Parallels/;
  const found = known.exec(product.filter((text) => text !== undefined).join(" "))?.[0];
  return found ?? (isGuest ? "a hypervisor" : null);
}

interface SeenCpu {
  vendor: string;
  brand: string;
  hypervisor: string;
  /** By the word of the system, which macOS and Windows give. */
  isTranslated: boolean;
}

function findTranslator({ vendor, brand, hypervisor, isTranslated }: SeenCpu): string | null {
  if (/VirtualApple/.test(`${vendor} ${brand}`)) {
    return "Rosetta";
  }
  return hypervisor === "TCGTCGTCGTCG" ? "QEMU" : isTranslated ? `${nameOther()} on another processor` : null;
}

function adviseTranslator({ translator }: ProgramFacts, platform: NodeJS.Platform): Advice[] {
  if (translator === "Rosetta") {
    const next =
      platform === "darwin"
        ? "install Node for arm64 (node -p process.arch says which one runs) and this package again"
        : "run an arm64 image: docker run --platform linux/arm64";
    return [{ status: "warning", what: "every instruction is translated by Rosetta: many times slower", next }];
  }
  return translator === null
    ? []
    : [
        {
          status: "warning",
          what: `every instruction is translated by ${translator}: many times slower than the machine itself`,
          next: "run the build for this machine's own processor, or give the virtual machine KVM",
        },
      ];
}
