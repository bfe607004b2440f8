// The service worker: when the server does not answer, the page itself comes from the browser's cache. It looks at
// nothing but the files of the page; requests to the server's interface go their way untouched.

/** The parts of the worker's global object that are used here; the types of windows do not have them. */
interface Worker {
  registration: { scope: string };
  clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(
    name: "install" | "activate",
    listener: (event: { waitUntil(work: Promise<unknown>): void }) => void,
  ): void;
  addEventListener(
    name: "fetch",
    listener: (event: { request: Request; respondWith(answer: Promise<Response>): void }) => void,
  ): void;
}

const worker = self as unknown as Worker;

worker.addEventListener("install", (event) => event.waitUntil(worker.skipWaiting()));
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));
worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { scope } = worker.registration;
  const isPage = request.mode === "navigate" && new URL(request.url).pathname === new URL(scope).pathname;
  if (request.method === "GET" && (isPage || request.url.startsWith(`${scope}assets/`))) {
    event.respondWith(answer(request, isPage ? scope : request.url));
  }
});

async function answer(request: Request, name: string): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = await caches.match(name);
    if (kept === undefined) {
      throw error;
    }
    return kept;
  }
}

export {};
