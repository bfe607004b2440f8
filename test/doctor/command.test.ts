// bitnet doctor as people run it.

import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chalk } from "chalk";
import { afterAll, describe, expect, test } from "vitest";
import { formatPage } from "../../src/cli/doctor-page.js";
import { findSecrets, formatReport, withoutSecrets } from "../../src/cli/doctor-report.js";
import { type Diagnosis, diagnose, runChecks } from "../../src/doctor/diagnose.js";
import { bundledModel } from "../../src/models/bundled.js";
import { BitnetError } from "../../src/system/errors.js";
import { contextOf } from "../support/doctor-context.js";
import { root, runBitnet, tinyModel } from "../support/fixtures.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-doctor-"));
afterAll(() => rmSync(folder, { recursive: true }));

const hostile = {
  HOME: join(folder, "home", "alice"),
  USER: "alice",
  LOGNAME: "alice",
  HOSTNAME: "alicebox",
  HF_TOKEN: "hf_abcdefgh12345678",
  https_proxy: "http://alice:pw123@10.1.2.3:8080",
  HF_ENDPOINT: "https://hub.acme.example",
  BITNET_MODELS: "/srv/alice/models",
  BITNET_TUNING: "none",
  BITNET_KERNEL: "scalar",
  LLAMA_API_KEY: "sk-12345678",
  BITNET_RUN_SYSTEM_PROMPT: "my private words",
};

/** This program in a folder of its own, without a native part. */
function copyPackage(name: string): string {
  const copy = join(folder, name);
  for (const part of ["bin", "dist", "models"]) {
    cpSync(join(root, part), join(copy, part), { recursive: true });
  }
  cpSync(join(root, "package.json"), join(copy, "package.json"));
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

describe("bitnet doctor", () => {
  test("--quick --json has every check, and ends with 0 where there is no problem", async () => {
    const { status, stdout, stderr } = await runBitnet(["doctor", "--quick", "--json", "--quiet"]);
    const { checks, problems, model } = JSON.parse(stdout) as Diagnosis;
    expect({ status, stderr, problems, model }).toEqual({
      status: 0,
      stderr: "",
      problems: [],
      model: bundledModel.path,
    });
    expect(Object.keys(checks)).toEqual(
      "program processor memory disk settings network correctness model speed".split(" "),
    );
    expect(checks.speed.facts).toBeNull();
    expect(checks.correctness.facts?.proofs.every(({ right }) => right)).toBe(true);
  });

  test("a damaged model is a numbered problem with a next step, and the status is 1", async () => {
    const path = join(folder, "cut.gguf");
    writeFileSync(path, readFileSync(tinyModel).subarray(0, 1_500_000));
    const { status, stdout } = await runBitnet(["doctor", "--quick", path]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/\n1 problem\n1\. .*cut\.gguf: .*; .*again\n$/);
  });

  test("a model that is not on this machine is not downloaded", async () => {
    const env = { HF_ENDPOINT: "http://127.0.0.1:9", HF_HOME: folder };
    const { status, stdout } = await runBitnet(["doctor", "--quick", "--quiet", "-m", "2b"], { env });
    expect(status).toBe(1);
    expect(stdout).toMatch(/1\. 2b is not on this machine; bitnet pull 2b\n$/);
  });

  test("--report has nothing of the user, the machine and its secrets", async () => {
    mkdirSync(hostile.HOME, { recursive: true });
    const path = join(hostile.HOME, "secret project", "model.gguf");
    mkdirSync(join(hostile.HOME, "secret project"));
    symlinkSync(tinyModel, path);
    const { status, stdout } = await runBitnet(["doctor", "--quick", "--report", "--quiet", "-m", path], {
      env: hostile,
    });
    expect(status).toBe(0);
    expect(stdout).toContain("### bitnet doctor");
    expect(stdout).toContain("~/secret project/model.gguf");
    expect(stdout).toContain("BITNET\\_KERNEL=scalar");
    for (const secret of [
      "alice",
      "alicebox",
      "hf_abc",
      "10.1.2.3",
      "pw123",
      "acme",
      "sk-123",
      "private words",
      folder,
    ]) {
      expect(stdout).not.toContain(secret);
    }
  });

  test.each([
    [["doctor", "--json", "--report"], /one of --report and --json/],
    [["doctor", "--strategies", "--quick"], /--strategies measures by itself/],
    [["doctor", "--checkpoint", "x"], /belong to --strategies/],
    [["doctor", "a.gguf", "-m", "b.gguf"], /not both/],
  ])("%j is a wrong command line", async (args, message) => {
    const { status, stderr } = await runBitnet(args);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });

  test("--report names neither a hub of one's own nor a proxy, also where they cannot be reached", async () => {
    const args = ["doctor", "--quick", "--report", "--quiet", "--online"];
    const hub = { HF_ENDPOINT: "http://hub.acme.invalid:9/acme-models/" };
    const proxy = { https_proxy: "http://gate.acme.invalid:9" };
    for (const env of [hub, proxy]) {
      const { status, stdout } = await runBitnet(args, { env: { NO_PROXY: "", no_proxy: "", ...env } });
      expect(status).toBe(1);
      expect(stdout).toMatch(/problem: .* cannot be reached/);
      expect(stdout).not.toContain("acme");
    }
  });

  test("without a native part it says so and tells the rest", async () => {
    const copy = copyPackage("package");
    const args = [join(copy, "bin", "bitnet.js"), "doctor", "--quiet"];
    const env = { ...process.env, XDG_CACHE_HOME: join(folder, "no-cache") };
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8", env });
    expect(status).toBe(1);
    expect(stdout).toContain("it does not load");
    expect(stdout).toMatch(/Memory\n {2}memory +\d/);
    expect(stdout).toMatch(/1 problem\n1\. .*build/);
  });

  test.skipIf(process.getuid?.() === 0)("a home folder that cannot be read is a warning", async () => {
    const home = join(folder, "closed");
    mkdirSync(home);
    chmodSync(home, 0);
    const { status, stdout } = await runBitnet(["doctor", "--quick"], { env: { HOME: home, BITNET_MODELS: "" } });
    chmodSync(home, 0o700);
    expect(status).toBe(0);
    expect(stdout).toMatch(/models cannot be kept in .*: permission denied/);
  });
});

test("without the record of the bundled model the proof is missing, and the rest of the model is told", async () => {
  const copy = copyPackage("no-record");
  rmSync(join(copy, "models", "tiny-bitnet.golden.json"));
  symlinkSync(join(root, "build"), join(copy, "build"));
  const { status, stdout } = spawnSync(
    process.execPath,
    [join(copy, "bin", "bitnet.js"), "doctor", "--quick", "--quiet"],
    {
      encoding: "utf8",
    },
  );
  expect(status).toBe(1);
  expect(stdout).toMatch(/\n1 problem\n1\. .*tiny-bitnet\.golden\.json: no such file .*; install the package again\n$/);
  expect(stdout).toContain("every key, tensor and the vocabulary are as a model needs them");
});

describe("the page", () => {
  test("fits 60, 80 and 120 columns", async () => {
    const native = new BitnetError("INTERNAL", `no native part at ${"long/".repeat(40)}`, { hint: "build it" });
    const broken = await runChecks(contextOf("", { native, model: join(folder, "x".repeat(100)) }));
    const sound = await runChecks(contextOf(""));
    for (const diagnosis of [broken, sound]) {
      for (const width of [60, 80, 120]) {
        const lines = formatPage(diagnosis, width, new Chalk({ level: 0 })).split("\n");
        expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width);
      }
    }
  });
});

describe("what is left out of a report", () => {
  const secrets = findSecrets({ USER: "alice", HOME: "/home/alice", MY_TOKEN: "abcdef123" });
  test.each([
    ["/home/alice/models/a.gguf", "~/models/a.gguf"],
    ["/home/alicea/models", "/home/USER/models"],
    ["/home/bob/models", "/home/USER/models"],
    ["C:\\Users\\Bob\\models", "C:\\Users\\USER\\models"],
    ["/mnt/alice/x and ALICE's", "/mnt/USER/x and USER's"],
    ["malice is a word", "malice is a word"],
    ["http://a:b@proxy:1 and bob@example.com", "http://proxy:1 and (mail)"],
    ["192.168.1.10 and fe80::1ff:fe23:4567:890a", "(address) and (address)"],
    ["the token abcdef123 is", "the token (secret) is"],
    ["node v20.20.2, glibc 2.36, at 12:30:01", "node v20.20.2, glibc 2.36, at 12:30:01"],
  ])("%s", (text, safe) => {
    expect(withoutSecrets(text, secrets)).toBe(safe);
  });
});

describe("diagnose", () => {
  test("stops when it is told to, and says what goes on", async () => {
    const controller = new AbortController();
    const steps: string[] = [];
    const onStep = (what: string) => {
      steps.push(what);
      controller.abort();
    };
    await expect(diagnose({ quick: true, signal: controller.signal, onStep })).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(steps).toEqual(["Testing the kernels"]);
  });

  test("refuses an option that it does not have", async () => {
    await expect(diagnose({ fast: true } as object)).rejects.toMatchObject({ code: "USAGE" });
  });

  test("gives a report of what it found", async () => {
    const diagnosis = await diagnose({ quick: true });
    expect(formatReport(diagnosis)).toContain("**Processor**");
  });
});
