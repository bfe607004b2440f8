// How much of the context the shown chat takes.

import type { Message } from "../chats/chat.js";

export function ContextMeter({ path, size }: { path: Message[]; size: number | undefined }) {
  const last = path.findLast(({ measured }) => measured?.promptTokens !== undefined)?.measured;
  if (last?.promptTokens === undefined || size === undefined) {
    return null;
  }
  const used = last.promptTokens + (last.answerTokens ?? 0);
  const text = `${used.toLocaleString("en")} of ${size.toLocaleString("en")} tokens of context`;
  return (
    <div class="context" title={text}>
      <meter min={0} max={size} high={size * 0.85} value={used} aria-label={text} />
      <span aria-hidden="true">
        {used.toLocaleString("en")} / {size.toLocaleString("en")}
      </span>
    </div>
  );
}
