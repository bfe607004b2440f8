import { createContext } from "preact";
import { useContext, useLayoutEffect, useState } from "preact/hooks";
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

/** From the first rendering on: an effect that waits for a picture would miss what changes before it. */
export function useChanges(app: App): void {
  const [, setCount] = useState(0);
  useLayoutEffect(() => app.subscribe(() => setCount((count) => count + 1)), [app]);
}
