// Addresses of servers and of Redis. They may have passwords: what is told about them never quotes one.

/** The address of a server without "/v1" and a slash at its end; undefined: it is none. */
export function readServerAddress(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol) || url.search !== "" || url.username !== "") {
    return undefined;
  }
  return url.href.replace(/\/+$/, "").replace(/\/v1$/, "");
}

export function isRedisAddress(text: string): boolean {
  return /^rediss?:\/\/[^/]/.test(text) && URL.canParse(text);
}

export function isQueueName(text: string): boolean {
  return /^[\w.-]{1,64}$/.test(text);
}

export const expected = {
  server: "expected the address of a server like http://127.0.0.1:8080",
  redis: "expected the address of Redis like redis://127.0.0.1:6379",
  queue: 'expected letters, digits, "-", "_" and "." as the queue\'s name, at most 64',
} as const;
