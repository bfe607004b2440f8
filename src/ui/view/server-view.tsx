// What the server measures about itself, and its alerts.

import { useEffect, useRef, useState } from "preact/hooks";
import { type Alert, readAlerts } from "../server/alerts.js";
import { type Figure, figures, formatFigure, parseMetrics, type Reading } from "../server/metrics.js";
import { Sparkline } from "./sparkline.js";
import { useApp } from "./use-app.js";

const readEvery = 2000;
/** Readings that a line shows: five minutes. */
const kept = 150;

export function ServerView() {
  const app = useApp();
  const [isPaused, setPaused] = useState(false);
  const { rows, problem } = useFigures(isPaused);
  const { alerts, problem: alertsProblem } = useAlerts(isPaused);
  return (
    <div class="messages">
      <div class="column wide">
        <p class="faint">
          {app.info?.model ? `${app.info.model}, ` : ""}
          {app.info?.contextSize ? `${app.info.contextSize.toLocaleString("en")} tokens of context, ` : ""}
          the last five minutes, read every two seconds while this page is open.
        </p>
        {problem !== undefined && <p class="ending failed">{problem}</p>}
        <div class="row between">
          <h2>Metrics</h2>
          <button type="button" class="small" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>
            {isPaused ? "Go on" : "Pause"}
          </button>
        </div>
        <ul class="figures">
          {figures.map((figure, i) => (
            <FigureCard key={figure.title} figure={figure} values={rows[i] ?? []} />
          ))}
        </ul>
        <h2>Alerts</h2>
        {alertsProblem !== undefined ? <p class="faint">{alertsProblem}</p> : <AlertTable alerts={alerts} />}
      </div>
    </div>
  );
}

function FigureCard({ figure, values }: { figure: Figure; values: (number | undefined)[] }) {
  return (
    <li>
      <span class="faint">{figure.title}</span>
      <strong>{formatFigure(values.at(-1), figure.unit)}</strong>
      <Sparkline values={values} />
    </li>
  );
}

function AlertTable({ alerts }: { alerts: Alert[] }) {
  if (alerts.length === 0) {
    return <p class="faint">None.</p>;
  }
  return (
    <div class="table">
      <table>
        <thead>
          <tr>
            <th scope="col">Since</th>
            <th scope="col">State</th>
            <th scope="col">Alert</th>
          </tr>
        </thead>
        <tbody>
          {alerts.map((alert) => (
            <tr key={alert.place}>
              <td>{alert.time === undefined ? "" : alert.time.toLocaleString()}</td>
              <td class={alert.isOver ? "" : alert.level}>{alert.isOver ? "over" : alert.level}</td>
              <td dir="auto">{alert.text}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** For every figure its newest values. */
function useFigures(isPaused: boolean): { rows: (number | undefined)[][]; problem: string | undefined } {
  const app = useApp();
  const before = useRef<Reading | undefined>(undefined);
  const [rows, setRows] = useState<(number | undefined)[][]>([]);
  const [problem, setProblem] = useState<string>();
  usePolling(isPaused, async (signal) => {
    try {
      const text = await (await app.connection.request("metrics", { signal })).text();
      const now = { time: performance.now(), metrics: parseMetrics(text) };
      const values = figures.map((figure) => figure.read(now, before.current));
      before.current = now;
      setRows((old) => values.map((value, i) => [...(old[i] ?? []), value].slice(-kept)));
      setProblem(undefined);
    } catch (error) {
      setProblem(reasonOf(error, signal));
    }
  });
  return { rows, problem };
}

function useAlerts(isPaused: boolean): { alerts: Alert[]; problem: string | undefined } {
  const app = useApp();
  const [alerts, setAlerts] = useState<Alert[]>([]);
  const [problem, setProblem] = useState<string>();
  usePolling(isPaused, async (signal) => {
    try {
      setAlerts(readAlerts(await app.connection.json("admin/alerts", signal)));
      setProblem(undefined);
    } catch (error) {
      setProblem(reasonOf(error, signal));
    }
  });
  return { alerts, problem };
}

/** Undefined where the page itself has ended the reading. */
function reasonOf(error: unknown, signal: AbortSignal): string | undefined {
  if (signal.aborted) {
    return undefined;
  }
  return error instanceof Error ? error.message : "The server's answer cannot be read.";
}

/** Not while it is paused or the page is hidden, and never two at a time. */
function usePolling(isPaused: boolean, read: (signal: AbortSignal) => Promise<void>): void {
  const latest = useRef(read);
  latest.current = read;
  useEffect(() => {
    if (isPaused) {
      return;
    }
    const controller = new AbortController();
    let timer: number | undefined;
    const turn = async () => {
      if (!document.hidden) {
        await latest.current(controller.signal);
      }
      if (!controller.signal.aborted) {
        timer = window.setTimeout(turn, readEvery);
      }
    };
    void turn();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [isPaused]);
}
