// Asks for the API key, or whether something shall be deleted.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Question } from "../app/app.js";
import { Dialog } from "./dialog.js";

export function QuestionDialog({ question }: { question: Question }) {
  const [key, setKey] = useState("");
  const isKey = question.kind === "key";
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), []);
  return (
    <Dialog title={isKey ? "API key" : "Are you sure?"} onClose={() => question.answer(undefined)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          question.answer(isKey ? key.trim() : "yes");
        }}
      >
        <p>{question.text}</p>
        {isKey && (
          <div class="field">
            <label for="key">Key</label>
            <input
              id="key"
              ref={field}
              aria-describedby="about-key"
              type="password"
              autocomplete="off"
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
            />
            <small id="about-key">It stays in this tab until the tab is closed, and goes to this server alone.</small>
          </div>
        )}
        <div class="row end">
          <button type="button" onClick={() => question.answer(undefined)}>
            Cancel
          </button>
          <button type="submit" class={isKey ? "primary" : "danger"} disabled={isKey && key.trim() === ""}>
            {question.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
