// The part of the address after #: which view is shown. It survives reloads and makes back and forward work.

export type Route = { view: "chat"; chat: string | undefined } | { view: "server" };

export function readRoute(hash: string): Route {
  if (hash === "#/server") {
    return { view: "server" };
  }
  return { view: "chat", chat: /^#\/chat\/(\w+)$/.exec(hash)?.[1] };
}

export function addressOf(route: Route): string {
  return route.view === "server" ? "#/server" : route.chat === undefined ? "#/" : `#/chat/${route.chat}`;
}
