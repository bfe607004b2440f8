// Where messages are typed.

import { useEffect, useRef, useState } from "preact/hooks";
import { keepDraft, readDraft } from "../app/preferences.js";
import { Icon } from "./icons.js";
import { useApp } from "./use-app.js";

/** On a touch screen the Enter key makes lines. */
const isTouch = matchMedia("(pointer: coarse)").matches;

interface ComposerProps {
  chat: string;
  isAnswering: boolean;
  onEditLast: () => void;
}

export function Composer({ chat, isAnswering, onEditLast }: ComposerProps) {
  const app = useApp();
  const field = useRef<HTMLTextAreaElement>(null);
  const [typed, setTyped] = useState({ chat, text: readDraft(chat) });
  // At the first rendering of another chat already: a key that is pressed before the next one belongs to that chat.
  const text = typed.chat === chat ? typed.text : readDraft(chat);
  useEffect(() => {
    if (!isTouch) {
      field.current?.focus();
    }
  }, [chat]);

  const type = (now: string) => {
    setTyped({ chat, text: now });
    keepDraft(chat, now);
  };
  const send = () => {
    if (text.trim() !== "" && !isAnswering && app.isReady) {
      type("");
      void app.send(text.trim());
    }
  };
  const press = (event: KeyboardEvent) => {
    const sends = !isTouch && !event.shiftKey && !event.isComposing;
    if (event.key === "Enter" && (sends || event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && text === "") {
      event.preventDefault();
      onEditLast();
    }
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div class="grows" data-text={text}>
        <textarea
          ref={field}
          id="composer"
          dir="auto"
          rows={1}
          aria-label="Message"
          placeholder="Write a message"
          value={text}
          onInput={(event) => type(event.currentTarget.value)}
          onKeyDown={press}
        />
      </div>
      {isAnswering ? (
        <button type="button" class="primary round" aria-label="Stop" title="Stop (Esc)" onClick={() => app.stop(chat)}>
          <Icon name="stop" />
        </button>
      ) : (
        <button
          type="submit"
          class="primary round"
          aria-label="Send"
          title="Send"
          disabled={text.trim() === "" || !app.isReady}
        >
          <Icon name="send" />
        </button>
      )}
    </form>
  );
}
