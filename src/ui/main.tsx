import { render } from "preact";
import { App } from "./app/app.js";
import { applyTheme, readTheme } from "./app/preferences.js";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/chat.css";
import "./styles/text.css";
import "./styles/server.css";
import { Page } from "./view/page.js";

applyTheme(readTheme());
const app = new App();
const place = document.getElementById("page");
if (place !== null) {
  render(<Page app={app} />, place);
}
void app.start();
void keepForOffline();

/** The files of this page, so that the chats can be read when the server is away. Needs https or a loopback address. */
async function keepForOffline(): Promise<void> {
  if (!("serviceWorker" in navigator)) {
    return;
  }
  const files = [...document.querySelectorAll<HTMLElement>("script[src], link[href]")].map((element) =>
    element instanceof HTMLScriptElement ? element.src : ((element as HTMLLinkElement).href ?? ""),
  );
  try {
    await navigator.serviceWorker.register(new URL("offline.js", document.baseURI));
    const cache = await caches.open("bitnet-page");
    const wanted = [new URL("./", document.baseURI).href, ...files];
    await cache.addAll(wanted);
    for (const { url } of await cache.keys()) {
      if (!wanted.includes(url)) {
        await cache.delete(url);
      }
    }
  } catch {
    // The page works without; it is only not there when the server is away.
  }
}
