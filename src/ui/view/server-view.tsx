// What the server measures about itself, and its alerts.

import { useEffect, useRef, useState } from "preact/hooks";
import { type Alert, readAlerts } from "../server/alerts.js";
import { ServerError } from "../server/connection.js";
import { type Figure, figures, formatFigure, parseMetrics, readEvery } from "../server/metrics.js";
import { Sparkline } from "./sparkline.js";
import { useApp } from "./use-app.js";

export function ServerView() {
  const app = useApp();
  const [isPaused, setPaused] = useState(false);
  const problem = useFigures(isPaused);
  const { alerts, problem: alertsProblem } = useAlerts(isPaused);
  return (
    <div class="messages">
      <div class="column wide">
        <p class="faint">
          {app.info?.model ? `${app.info.model}, ` : ""}
          {app.info?.contextSize ? `${app.info.contextSize.toLocaleString("en")} tokens of context, ` : ""}
          the last five minutes, read every two seconds while this page is open.
        </p>
        {problem !== undefined && <p class="ending failed">{problem.text}</p>}
        <div class="row between">
          <h2>Metrics</h2>
          <div class="row">
            {(app.connection.hasKey || problem?.isRefused) && (
              <button type="button" class="small" onClick={() => void app.changeKey()}>
                {app.connection.hasKey ? "Another key" : "Give a key"}
              </button>
            )}
            <button type="button" class="small" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>
              {isPaused ? "Go on" : "Pause"}
            </button>
          </div>
        </div>
        <ul class="figures">
          {figures.map((figure, i) => (
            <FigureCard key={figure.title} figure={figure} values={app.figures.rows[i] ?? []} />
          ))}
        </ul>
        <h2>Alerts</h2>
        {alertsProblem !== undefined ? <p class="faint">{alertsProblem.text}</p> : <AlertTable alerts={alerts} />}
      </div>
    </div>
  );
}

function FigureCard({ figure, values }: { figure: Figure; values: (number | undefined)[] }) {
  return (
    <li>
      <span class="faint">{figure.title}</span>
      <strong>
        {formatFigure(
          values.findLast((value) => value !== undefined),
          figure.unit,
        )}
      </strong>
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

interface Problem {
  text: string;
  isRefused: boolean;
}

/** Reads the figures into the app; says what is wrong. */
function useFigures(isPaused: boolean): Problem | undefined {
  const app = useApp();
  return usePolling(isPaused, async (signal) => {
    const text = await (await app.connection.request("metrics", { signal })).text();
    app.figures.add({ time: performance.now(), metrics: parseMetrics(text) });
  });
}

function useAlerts(isPaused: boolean): { alerts: Alert[]; problem: Problem | undefined } {
  const app = useApp();
  const [alerts, setAlerts] = useState<Alert[]>([]);
  const problem = usePolling(isPaused, async (signal) => {
    setAlerts(readAlerts(await app.connection.json("admin/alerts", signal)));
  });
  return { alerts, problem };
}

/** Not while it is paused or the page is hidden, never two at a time, and what was refused only with another key. */
function usePolling(isPaused: boolean, read: (signal: AbortSignal) => Promise<void>): Problem | undefined {
  const { keysGiven } = useApp().connection;
  const [state, setState] = useState<{ problem: Problem | undefined }>({ problem: undefined });
  const latest = useRef(read);
  latest.current = read;
  useEffect(() => {
    if (isPaused) {
      return;
    }
    const controller = new AbortController();
    const { signal } = controller;
    let timer: number | undefined;
    const turn = async () => {
      const problem = document.hidden ? undefined : await problemOf(latest.current(signal));
      if (!signal.aborted) {
        setState({ problem });
        timer = problem?.isRefused ? undefined : window.setTimeout(turn, readEvery);
      }
    };
    void turn();
    return () => {
      controller.abort();
      clearTimeout(timer);
    };
  }, [isPaused, keysGiven]);
  return state.problem;
}

async function problemOf(reading: Promise<void>): Promise<Problem | undefined> {
  try {
    await reading;
    return undefined;
  } catch (error) {
    const text = error instanceof Error ? error.message : "The server's answer cannot be read.";
    return { text, isRefused: error instanceof ServerError && error.isRefused };
  }
}
