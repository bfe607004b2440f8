// Files of requests.

import { writeFileSync } from "node:fs";

/** Chats r0, r1, ... as lines of a batch; `more` are fields of each body. */
export function writeRequests(path: string, count: number, more: object = {}): string {
  const lines = Array.from({ length: count }, (_, i) => ({
    custom_id: `r${i}`,
    url: "/v1/chat/completions",
    body: { messages: [{ role: "user", content: `Tell me about number ${i}.` }], max_tokens: 8, ...more },
  }));
  writeFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return path;
}
