// The files of deploy/ for systemd and Kubernetes: they can be read, say the same as each other, and name only what the program has.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { at, deploy, read, texts, valueAfter } from "../support/deploy.js";
import { FakeHub } from "../support/fake-hub.js";
import { root, tinyModel } from "../support/fixtures.js";
import { readYaml, type Yaml } from "../support/read-yaml.js";

const folder = mkdtempSync(join(tmpdir(), "bitnet-deploy-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("the unit of systemd waits longer than the server drains", () => {
  const unit = read("systemd", "bitnet.service");
  const [, command = ""] = /^ExecStart=\/usr\/local\/bin\/bitnet (.*)$/m.exec(unit) ?? [];
  const words = command.split(" ");
  const [, stop = ""] = /^TimeoutStopSec=(\d+)$/m.exec(unit) ?? [];
  expect(Number(stop)).toBeGreaterThan(Number(valueAfter(words, "--drain-timeout")));
  expect(unit).toMatch(/^KillSignal=SIGTERM$/m);
});

describe("Kubernetes", () => {
  const kubernetes = join(folder, "kubernetes");
  const hasKubectl = spawnSync("kubectl", ["version", "--client"]).status === 0;
  const files = readdirSync(join(deploy, "kubernetes"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".yaml"),
  );
  const [deployment] = readYaml(read("kubernetes", "server", "deployment.yaml"));
  const pod = at(deployment, "spec", "template", "spec");
  const server = at(pod, "containers", 0);
  const args = texts(at(server, "args"));

  beforeAll(() => {
    cpSync(join(deploy, "kubernetes"), kubernetes, { recursive: true });
    writeFileSync(join(kubernetes, "server", "keys.txt"), "0123456789abcdef name=test scope=chat\n");
  });

  /** Every object of a folder. */
  function render(name: string): Yaml[] {
    const { status, stdout, stderr } = spawnSync("kubectl", ["kustomize", join(kubernetes, name)], {
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return readYaml(stdout);
  }

  test.each(files)("%s can be read", (name) => {
    expect(readYaml(read("kubernetes", name))).toHaveLength(1);
  });

  test("keys are not in the repository", () => {
    expect(read("kubernetes", ".gitignore")).toContain("keys.txt");
  });

  test("ports, probes and periods are those of the server", () => {
    const ports = (at(server, "ports") as Yaml[]).map((port) => [at(port, "name"), String(at(port, "containerPort"))]);
    expect(ports).toEqual([
      ["http", valueAfter(args, "--port")],
      ["metrics", valueAfter(args, "--metrics-port")],
    ]);
    const probes = ["startupProbe", "readinessProbe", "livenessProbe"].map((name) => {
      const probe = at(server, name);
      return [at(probe, "httpGet", "path"), at(probe, "periodSeconds"), at(probe, "failureThreshold")];
    });
    expect(probes).toEqual([
      ["/readyz", 5, 120],
      ["/readyz", 2, 2],
      ["/livez", 10, 6],
    ]);
    const [, preStop = ""] = texts(at(server, "lifecycle", "preStop", "exec", "command"));
    expect(preStop).toBe("15");
    expect(at(pod, "terminationGracePeriodSeconds")).toBe(150);
    expect(Number(preStop) + Number(valueAfter(args, "--drain-timeout"))).toBeLessThan(150);
  });

  test("the server has whole cores that are its own, no rights and no disk but its volumes", () => {
    const resources = at(server, "resources");
    expect(at(resources, "requests")).toEqual(at(resources, "limits"));
    expect(String(at(resources, "limits", "cpu"))).toMatch(/^\d+$/);
    expect(at(pod, "securityContext")).toMatchObject({ runAsNonRoot: true, runAsUser: 10001 });
    for (const container of [server, at(pod, "initContainers", 0)]) {
      expect(at(container, "securityContext")).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
    }
    const volumes = (at(pod, "volumes") as Yaml[]).map((volume) => at(volume, "name"));
    const mounts = (at(server, "volumeMounts") as Yaml[]).map((mount) => [at(mount, "name"), at(mount, "mountPath")]);
    expect(mounts.map(([name]) => name)).toEqual(expect.arrayContaining(volumes));
    for (const path of [valueAfter(args, "-m"), valueAfter(args, "--api-key-file")]) {
      expect(mounts.some(([, mount]) => path.startsWith(`${mount}/`))).toBe(true);
    }
  });

  test("replicas are added by the requests that wait, two each", () => {
    const [hpa] = readYaml(read("kubernetes", "monitoring", "hpa.yaml"));
    const metric = at(hpa, "spec", "metrics", 0, "pods");
    expect(at(metric, "metric", "name")).toBe("vllm:num_requests_waiting");
    expect(at(metric, "target")).toEqual({ type: "AverageValue", averageValue: "2" });
    expect(at(hpa, "spec", "scaleTargetRef", "name")).toBe(at(deployment, "metadata", "name"));
    expect(read("kubernetes", "monitoring", "prometheus-adapter.yaml")).toContain("vllm:num_requests_waiting");
  });

  test("the pool of the inference gateway has the server's port and pods", () => {
    const [pool] = readYaml(read("kubernetes", "inference-pool", "pool.yaml"));
    expect(String(at(pool, "spec", "targetPorts", 0, "number"))).toBe(valueAfter(args, "--port"));
    expect(at(pool, "spec", "selector", "matchLabels")).toEqual(
      at(pod, "topologySpreadConstraints", 0, "labelSelector", "matchLabels"),
    );
  });

  describe("the init container", () => {
    let hub: FakeHub;
    beforeAll(async () => {
      hub = await FakeHub.start();
      hub.repositories.set("microsoft/BitNet-b1.58-2B-4T", { files: { "README.md": "the weights are elsewhere" } });
      hub.repositories.set("microsoft/BitNet-b1.58-2B-4T-gguf", {
        files: { "ggml-model-i2_s.gguf": readFileSync(tinyModel) },
      });
      mkdirSync(join(folder, "bin"));
      const run = `#!/bin/sh\nexec "${process.execPath}" "${join(root, "bin", "bitnet.js")}" "$@"\n`;
      writeFileSync(join(folder, "bin", "bitnet"), run);
      chmodSync(join(folder, "bin", "bitnet"), 0o755);
    });
    afterAll(() => hub.stop());

    /** Runs it with `models` in the place of /models. */
    async function setUp(models: string, sha256: string): Promise<number | null> {
      const [shell = "", ...options] = texts(at(pod, "initContainers", 0, "command"));
      const script = options.pop()?.replaceAll("/models", models) ?? "";
      const [, model = ""] = /^ +- MODEL=(.*)$/m.exec(read("kubernetes", "server", "kustomization.yaml")) ?? [];
      const child = spawn(shell, [...options, script], {
        stdio: "ignore",
        env: {
          PATH: `${join(folder, "bin")}:/usr/bin:/bin`,
          HOME: folder,
          MODEL: model,
          MODEL_SHA256: sha256,
          HF_ENDPOINT: hub.url,
          no_proxy: "127.0.0.1",
        },
      });
      return await new Promise((resolve) => child.on("close", resolve));
    }

    test("puts the model where the server looks for it, if its hash is right", async () => {
      const model = readFileSync(tinyModel);
      const sha256 = createHash("sha256").update(model).digest("hex");
      const models = join(folder, "models");
      mkdirSync(models);
      expect(await setUp(models, sha256)).toBe(0);
      const place = valueAfter(args, "-m").replace("/models", models);
      expect(readFileSync(place).equals(model)).toBe(true);
      expect(await setUp(models, sha256)).toBe(0); // after a restart of the pod's container
    });

    test("fails if the hash is another one", async () => {
      const models = join(folder, "models-of-another");
      mkdirSync(models);
      expect(await setUp(models, "0".repeat(64))).not.toBe(0);
      expect(readdirSync(models)).not.toContain("model.gguf");
    });
  });

  describe.skipIf(!hasKubectl)("as kubectl renders it", () => {
    const kinds: Record<string, string[]> = {
      server: ["ConfigMap", "Secret", "Service", "Deployment", "PodDisruptionBudget", "NetworkPolicy"],
      monitoring: ["HorizontalPodAutoscaler", "PrometheusRule", "ServiceMonitor"],
      keda: ["ScaledObject"],
      batch: ["Job"],
      "inference-pool": ["HTTPRoute", "InferencePool"],
    };
    test.each(Object.entries(kinds))("%s has %j", (name, expected) => {
      const rendered = render(name).map((object) => String(at(object, "kind")));
      expect(rendered.sort()).toEqual(expected.sort());
    });

    test("every selector selects the server's pods, and names are those of what there is", () => {
      const objects = ["server", "monitoring"].flatMap(render);
      const find = (kind: string) => objects.find((object) => at(object, "kind") === kind);
      const pods = at(find("Deployment"), "spec", "template");
      const labels = at(pods, "metadata", "labels");
      const selectors = [
        at(find("Deployment"), "spec", "selector", "matchLabels"),
        at(find("Service"), "spec", "selector"),
        at(find("PodDisruptionBudget"), "spec", "selector", "matchLabels"),
        at(find("NetworkPolicy"), "spec", "podSelector", "matchLabels"),
      ];
      for (const selector of selectors) {
        expect(Object.keys(selector as object).length).toBeGreaterThan(0);
        expect(labels).toMatchObject(selector as object);
      }
      const serviceLabels = at(find("Service"), "metadata", "labels");
      expect(serviceLabels).toMatchObject(at(find("ServiceMonitor"), "spec", "selector", "matchLabels") as object);
      const volumes = at(pods, "spec", "volumes") as Yaml[];
      const keys = volumes.find((volume) => at(volume, "name") === "keys");
      expect(at(keys, "secret", "secretName")).toBe(at(find("Secret"), "metadata", "name"));
      expect(at(pods, "spec", "initContainers", 0, "envFrom", 0, "configMapRef", "name")).toBe(
        at(find("ConfigMap"), "metadata", "name"),
      );
      expect(at(find("Secret"), "data", "api-keys")).toBe(btoa("0123456789abcdef name=test scope=chat\n"));
    });

    test("cannot be rendered before keys are written", () => {
      const { status, stderr } = spawnSync("kubectl", ["kustomize", join(deploy, "kubernetes", "server")], {
        encoding: "utf8",
      });
      expect(status).not.toBe(0);
      expect(stderr).toContain("keys.txt");
    });
  });
});
