// The messages of a chat, and the field below them.

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Message } from "../chats/chat.js";
import { childrenOf, pathTo } from "../chats/tree.js";
import { Announcer } from "./announcer.js";
import { Composer } from "./composer.js";
import { IconButton } from "./icons.js";
import { copyText, MessageView } from "./message-view.js";
import { useApp } from "./use-app.js";

const noMessages = new Map<string, Message>();
const alone: Message[] = [];

export function ChatView() {
  const app = useApp();
  const open = app.current;
  const id = app.shownChat;
  const tree = open?.tree ?? noMessages;
  const path = pathTo(tree, open?.chat.leaf ?? null);
  const children = useMemo(() => childrenOf(tree), [tree]);
  const answer = app.answerOf(id);
  const scroller = useRef<HTMLDivElement>(null);
  const { isAtEnd, toEnd } = useStickyEnd(scroller, id, path.length);
  return (
    <>
      <div class="messages" ref={scroller} aria-busy={!app.isReady}>
        <div class="column">
          {path.length === 0 && app.isReady && <Welcome />}
          {path.map((message, i) => (
            <MessageView
              key={message.id}
              message={message}
              siblings={children.get(message.parent) ?? alone}
              isWriting={answer?.message.id === message.id}
              isBusy={answer !== undefined}
              isLast={i === path.length - 1}
              progress={answer?.message.id === message.id ? answer.progress : undefined}
            />
          ))}
        </div>
      </div>
      <div class="below">
        {!isAtEnd && <IconButton icon="down" label="To the end" class="to-end" onClick={toEnd} />}
        <Composer chat={id} isAnswering={answer !== undefined} onEditLast={() => editLast(scroller.current)} />
      </div>
      <Announcer message={answer?.message ?? path.at(-1)} isWriting={answer !== undefined} />
    </>
  );
}

function Welcome() {
  const app = useApp();
  return (
    <div class="welcome">
      <h2>What would you like to know?</h2>
      <p class="faint">
        {app.info?.model ? `${app.info.model} answers, on this server alone. ` : ""}
        Chats stay in this browser.
      </p>
    </div>
  );
}

/** Keeps the end in sight while text comes, unless the reader has scrolled away from it. */
function useStickyEnd(scroller: { current: HTMLDivElement | null }, chat: string, length: number) {
  const [isAtEnd, setAtEnd] = useState(true);
  const sticks = useRef(true);
  const top = useRef(0); // when it was last looked at
  const shown = useRef({ chat: "", length: 0 });
  const toEnd = useCallback(() => {
    sticks.current = true;
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
    top.current = scroller.current?.scrollTop ?? 0;
  }, [scroller]);
  // A chat that is opened and a message that was sent are shown from their end.
  useLayoutEffect(() => {
    if (shown.current.chat !== chat || shown.current.length < length) {
      toEnd();
    }
    shown.current = { chat, length };
  }, [chat, length, toEnd]);
  useEffect(() => {
    const element = scroller.current;
    const column = element?.firstElementChild;
    if (!element || !column) {
      return;
    }
    // Only who goes up leaves the end: text may have come since the scrolling that the page is told of.
    const look = () => {
      const atEnd = element.scrollHeight - element.scrollTop - element.clientHeight < 48;
      sticks.current = atEnd || (sticks.current && element.scrollTop >= top.current);
      top.current = element.scrollTop;
      setAtEnd(sticks.current);
    };
    // Messages out of sight get their real heights only when they are scrolled to.
    const sizes = new ResizeObserver(() => (sticks.current ? toEnd() : look()));
    sizes.observe(column);
    sizes.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    element.addEventListener("click", copyCode);
    return () => {
      sizes.disconnect();
      element.removeEventListener("scroll", look);
      element.removeEventListener("click", copyCode);
    };
  }, [scroller, toEnd]);
  return { isAtEnd, toEnd };
}

/** The buttons in the heads of code blocks, which are not components. */
function copyCode(event: MouseEvent): void {
  const button = event.target instanceof Element ? event.target.closest<HTMLElement>("[data-copy]") : null;
  const code = button?.closest(".code")?.querySelector("pre")?.textContent;
  if (button && typeof code === "string") {
    void copyText(code).then((done) => {
      button.textContent = done ? "Copied" : "Not copied";
      setTimeout(() => {
        button.textContent = "Copy";
      }, 2000);
    });
  }
}

function editLast(scroller: HTMLElement | null): void {
  const edits = scroller?.querySelectorAll<HTMLButtonElement>('.message.user button[aria-label="Edit"]:enabled');
  edits?.item(edits.length - 1)?.click();
}
