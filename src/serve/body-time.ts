// How long the bodies of requests may take to come. Node's own limit is the same for all; files need more than it gives.

import type { IncomingMessage, ServerResponse } from "node:http";

/** What of a file must come in the time that other bodies have as a whole: 64 KiB in 30 s are 2 KB a second. */
const leastBytes = 64 * 2 ** 10;

const files = new WeakSet<IncomingMessage>();

/** The body may take as long as it goes on to come. */
export function expectFile(request: IncomingMessage): void {
  files.add(request);
}

/** Ends the connection with 408 if the body is not there after `patienceMs`, also where nobody reads it any more. */
export function boundBody(request: IncomingMessage, response: ServerResponse, patienceMs: number): void {
  const { headers, socket } = request;
  if (headers["transfer-encoding"] === undefined && Number(headers["content-length"] ?? 0) === 0) {
    return;
  }
  let seen = socket.bytesRead;
  const timer = setTimeout(() => {
    const now = socket.bytesRead;
    if (request.complete || socket.destroyed) {
      return;
    }
    if (files.has(request) && !response.headersSent && now - seen >= leastBytes) {
      seen = now;
      timer.refresh();
      return;
    }
    if (!response.headersSent) {
      socket.write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
    }
    socket.destroy();
  }, patienceMs).unref();
  request.once("end", () => clearTimeout(timer));
}
