// One message with what can be done with it.

import { Component } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Progress } from "../app/answer.js";
import type { Message } from "../chats/chat.js";
import { Icon, IconButton } from "./icons.js";
import { Probabilities } from "./probabilities.js";
import { RichText } from "./rich-text.js";
import { useApp } from "./use-app.js";

interface MessageProps {
  message: Message;
  siblings: Message[];
  isWriting: boolean;
  /** The chat is being answered: what would begin another answer waits. */
  isBusy: boolean;
  isLast: boolean;
  progress: Progress | undefined;
}

/** Rendered anew only when something of it changed: in a long chat most of the page rests while text comes. */
export class MessageView extends Component<MessageProps> {
  override shouldComponentUpdate(next: MessageProps): boolean {
    const { message, siblings, isWriting, isBusy, isLast, progress } = this.props;
    return (
      next.message !== message ||
      next.siblings !== siblings ||
      next.isWriting !== isWriting ||
      next.isBusy !== isBusy ||
      next.isLast !== isLast ||
      next.progress !== progress
    );
  }

  override render() {
    return <MessageBody {...this.props} />;
  }
}

function MessageBody({ message, siblings, isWriting, isBusy, isLast, progress }: MessageProps) {
  const app = useApp();
  const [isEditing, setEditing] = useState(false);
  const [showsTokens, setShowsTokens] = useState(false);
  const isAnswer = message.role === "assistant";
  return (
    <article class={`message ${message.role}`} aria-label={isAnswer ? "Answer" : "Your message"} data-id={message.id}>
      {message.thinking !== "" && <Thinking message={message} isWriting={isWriting} />}
      {isEditing ? (
        <Editor message={message} onDone={() => setEditing(false)} />
      ) : isAnswer ? (
        <RichText text={message.text} isGrowing={isWriting} />
      ) : (
        <div class="typed" dir="auto">
          {message.text}
        </div>
      )}
      {isWriting && <Waiting message={message} progress={progress} />}
      {!isWriting && <Ending message={message} isBusy={isBusy} isLast={isLast} />}
      {showsTokens && message.probabilities !== undefined && <Probabilities tokens={message.probabilities} />}
      {!isEditing && (
        <footer>
          {siblings.length > 1 && <Branches message={message} siblings={siblings} isBusy={isBusy} />}
          {!isWriting && (
            <div class="actions">
              {message.text !== "" && (
                <>
                  <CopyButton text={message.text} />
                  <IconButton icon="edit" label="Edit" disabled={isBusy} onClick={() => setEditing(true)} />
                </>
              )}
              {isAnswer && (
                <IconButton
                  icon="again"
                  label="Answer again"
                  disabled={isBusy}
                  onClick={() => void app.regenerate(message)}
                />
              )}
              {message.probabilities !== undefined && (
                <IconButton
                  icon="bars"
                  label="Probabilities"
                  pressed={showsTokens}
                  onClick={() => setShowsTokens(!showsTokens)}
                />
              )}
              <IconButton
                icon="delete"
                label="Delete message"
                disabled={isBusy}
                onClick={() => void app.removeMessage(message)}
              />
            </div>
          )}
          {isAnswer && !isWriting && <Measurements message={message} />}
        </footer>
      )}
    </article>
  );
}

function Thinking({ message, isWriting }: { message: Message; isWriting: boolean }) {
  const isThinking = isWriting && message.text === "";
  const seconds = (message.measured?.thinkingMs ?? 0) / 1000;
  const thought = seconds < 0.1 ? "Thought" : `Thought for ${seconds.toFixed(1)} s`;
  return (
    <details class="thinking">
      <summary>{isThinking ? "Thinking…" : thought}</summary>
      <div class="typed" dir="auto">
        {message.thinking}
      </div>
    </details>
  );
}

function Waiting({ message, progress }: { message: Message; progress: Progress | undefined }) {
  if (progress !== undefined && progress.total > 0) {
    return (
      <div class="reading">
        <label>
          <span>
            Reading the prompt: {progress.processed} of {progress.total} tokens
          </span>
          <progress max={progress.total} value={progress.processed} />
        </label>
      </div>
    );
  }
  return message.text === "" && message.thinking === "" ? (
    <p class="waiting">
      <span class="unseen">Waiting for the answer</span>
      <i />
      <i />
      <i />
    </p>
  ) : null;
}

/** Why an answer is not whole, and what can be done about it. */
function Ending({ message, isBusy, isLast }: { message: Message; isBusy: boolean; isLast: boolean }) {
  const app = useApp();
  const ending = endingOf(message);
  if (ending === undefined) {
    return null;
  }
  return (
    <div class={`ending ${message.state}`} role={message.state === "failed" ? "alert" : undefined}>
      <p dir="auto">
        {ending} {message.failure?.hint}
      </p>
      {isLast && message.role === "assistant" && (
        <div class="row">
          {message.text !== "" && (
            <button type="button" class="small" disabled={isBusy} onClick={() => void app.continueAnswer(message)}>
              <Icon name="play" /> Continue
            </button>
          )}
          {message.state === "failed" && (
            <button type="button" class="small" disabled={isBusy} onClick={() => void app.regenerate(message)}>
              <Icon name="again" /> Try again
            </button>
          )}
        </div>
      )}
    </div>
  );
}

function endingOf(message: Message): string | undefined {
  if (message.state === "failed") {
    return message.failure?.message ?? "The answer failed.";
  }
  if (message.state === "stopped") {
    return "Stopped.";
  }
  if (message.finish === "length") {
    return "The answer reached its longest length.";
  }
  return message.finish === "content_filter" ? "The server's content filter ended the answer." : undefined;
}

function Branches({ message, siblings, isBusy }: { message: Message; siblings: Message[]; isBusy: boolean }) {
  const app = useApp();
  const index = siblings.findIndex(({ id }) => id === message.id);
  const go = (step: number) => {
    const to = siblings[index + step];
    if (to !== undefined) {
      void app.choose(to);
    }
  };
  return (
    <fieldset class="branches" aria-label="Versions">
      <IconButton icon="left" label="Earlier version" disabled={isBusy || index === 0} onClick={() => go(-1)} />
      <span>
        {index + 1} / {siblings.length}
      </span>
      <IconButton
        icon="right"
        label="Later version"
        disabled={isBusy || index === siblings.length - 1}
        onClick={() => go(1)}
      />
    </fieldset>
  );
}

function Measurements({ message }: { message: Message }) {
  const { measured } = message;
  const parts = [
    measured?.tokensPerSecond && `${measured.tokensPerSecond.toFixed(1)} tokens/s`,
    measured?.firstTokenMs && `first after ${(measured.firstTokenMs / 1000).toFixed(2)} s`,
    measured?.answerTokens && `${measured.answerTokens} tokens`,
  ].filter(Boolean);
  return parts.length > 0 ? <p class="measured">{parts.join(" · ")}</p> : null;
}

function CopyButton({ text }: { text: string }) {
  const app = useApp();
  return (
    <IconButton icon="copy" label="Copy" onClick={() => void copyText(text).then((done) => app.tell(copied(done)))} />
  );
}

const copied = (done: boolean) => (done ? "Copied." : "The browser did not let the text be copied.");

/** The clipboard needs a secure context, which http in a local network is not: then a field is copied from. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

function Editor({ message, onDone }: { message: Message; onDone: () => void }) {
  const app = useApp();
  const [text, setText] = useState(message.text);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const close = () => {
    onDone();
    document.getElementById("composer")?.focus();
  };
  const save = () => {
    close();
    void app.edit(message, text);
  };
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <textarea
        aria-label="Text of the message"
        dir="auto"
        rows={Math.min(12, text.split("\n").length + 1)}
        value={text}
        ref={field}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            close();
          } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            save();
          }
        }}
      />
      <p class="faint">The old version stays as a branch.</p>
      <div class="row end">
        <button type="button" onClick={close}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={text.trim() === ""}>
          {message.role === "user" ? "Send" : "Save"}
        </button>
      </div>
    </form>
  );
}
