// Reads answers out to screen readers, sentence by sentence, while they come.

import { useRef } from "preact/hooks";
import type { Message } from "../chats/chat.js";
import { SentenceReader } from "../text/sentences.js";

/** Sentences that stay in the region: enough to be read, few enough to cost nothing. */
const kept = 8;

export function Announcer({ message, isWriting }: { message: Message | undefined; isWriting: boolean }) {
  const state = useRef({ id: "", reader: new SentenceReader(), said: [] as { key: number; text: string }[], count: 0 });
  const now = state.current;
  const say = (text: string) => {
    now.count += 1;
    now.said = [...now.said, { key: now.count, text }].slice(-kept);
  };
  if (message !== undefined && isWriting && message.id !== now.id) {
    Object.assign(now, { id: message.id, reader: new SentenceReader() });
    say("The model is answering.");
  }
  if (message !== undefined && message.id === now.id) {
    for (const sentence of now.reader.take(message.text, !isWriting)) {
      say(sentence);
    }
    if (!isWriting) {
      now.id = "";
      say(endOf(message));
    }
  }
  return (
    <div class="unseen" role="log" aria-live="polite" aria-label="What the model says">
      {now.said.map(({ key, text }) => (
        <p key={key}>{text}</p>
      ))}
    </div>
  );
}

function endOf(message: Message): string {
  if (message.state === "failed") {
    return `The answer failed. ${message.failure?.message ?? ""}`;
  }
  return message.state === "stopped" ? "The answer was stopped." : "The answer is complete.";
}
