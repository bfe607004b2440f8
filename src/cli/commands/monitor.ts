// bitnet monitor: how a running server is doing.

import type { Command } from "commander";
import { BitnetError, withContext } from "../../system/errors.js";
import { writeOutput } from "../../system/files.js";
import { addOptions, groupOf } from "../option-rows.js";
import { outputRows, withHelp } from "../options.js";
import { numberFrom } from "../parsers.js";
import { fetchAdmin, type ServerReport } from "../server-report.js";
import { formatReport } from "../server-report-table.js";
import { note, write, writeJson } from "../terminal/output.js";

const groups = {
  server: groupOf("Server", {
    apiKey: {
      flags: "--api-key <key>",
      help: "a key with the scope admin; BITNET_API_KEY hides it from other users of the machine",
    },
    hours: {
      flags: "--hours <n>",
      help: "how far back the summary and the export go",
      parse: numberFrom(0.01, 24),
      standard: 24,
    },
  }),
  output: groupOf("Output", {
    exportFile: { flags: "--export <file>", help: "write all readings, counts and alerts as JSON" },
    json: withHelp(outputRows.json, "print one JSON object on stdout"),
  }),
};

export default function configureMonitor(command: Command): void {
  const read = addOptions(command, groups);
  command
    .argument("[url]", "address of the server", "http://127.0.0.1:8080")
    .addHelpText(
      "after",
      `
Examples:
  $ bitnet monitor
  $ bitnet monitor http://127.0.0.1:8080 --export metrics.json --hours 1
  $ bitnet monitor https://models.example.org --json`,
    )
    .action(async (url: string) => {
      const { server, output } = read();
      const report = await fetchReport(url, server);
      if (output.exportFile !== undefined) {
        const all = await fetchAdmin(url, `export?hours=${server.hours}`, server.apiKey);
        await exportTo(output.exportFile, all);
      }
      if (output.json) {
        writeJson(report);
      } else {
        write(formatReport(report));
      }
    });
}

async function fetchReport(url: string, { apiKey, hours }: { apiKey?: string; hours: number }): Promise<ServerReport> {
  const [stats, summary, { alerts }] = await Promise.all([
    fetchAdmin<ServerReport["stats"]>(url, "stats", apiKey),
    fetchAdmin<ServerReport["summary"]>(url, `summary?hours=${hours}`, apiKey),
    fetchAdmin<Pick<ServerReport, "alerts">>(url, "alerts", apiKey),
  ]);
  return { stats, summary, alerts };
}

async function exportTo(path: string, value: unknown): Promise<void> {
  try {
    await writeOutput(path, Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`));
  } catch (error) {
    throw error instanceof BitnetError ? error : withContext(path, error);
  }
  note(`written to ${path}`);
}
