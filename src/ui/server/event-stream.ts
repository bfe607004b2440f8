// Server-sent events of a fetched body. Only data lines count here; comments (`: ping`) keep connections alive.

/** An event longer than this is no answer of a model. In characters. */
const longestEvent = 16 * 2 ** 20;

/** The data of every event, as they come. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let data: string[] = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop() ?? "";
      if (rest.length > longestEvent) {
        throw new Error("an event of the stream is too long");
      }
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) {
            yield data.join("\n");
          }
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
      if (done) {
        return;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
