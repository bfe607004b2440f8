import { createContext } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import type { App } from "../app/app.js";

export const AppContext = createContext<App | undefined>(undefined);

/** The app. Whoever is below a component that uses `useChanges` is rendered anew when it changes. */
export function useApp(): App {
  const app = useContext(AppContext);
  if (app === undefined) {
    throw new Error("a component outside of the page");
  }
  return app;
}

export function useChanges(app: App): void {
  const [, setCount] = useState(0);
  useEffect(() => app.subscribe(() => setCount((count) => count + 1)), [app]);
}
