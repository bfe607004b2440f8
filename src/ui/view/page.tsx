// The whole page: chats at the side, the chat or the server beside them, dialogs above.

import { useCallback, useEffect, useState } from "preact/hooks";
import type { App } from "../app/app.js";
import { readRoute } from "../app/route.js";
import { pathTo } from "../chats/tree.js";
import { ChatView } from "./chat-view.js";
import { ContextMeter } from "./context-meter.js";
import { HelpDialog } from "./help-dialog.js";
import { Icon, IconButton } from "./icons.js";
import { QuestionDialog } from "./question-dialog.js";
import { ServerView } from "./server-view.js";
import { SettingsDialog } from "./settings-dialog.js";
import { download, Sidebar } from "./sidebar.js";
import { AppContext, useApp, useChanges } from "./use-app.js";

type Shown = "settings" | "help" | undefined;

export function Page({ app }: { app: App }) {
  useChanges(app);
  const [wantsMenu, setMenuOpen] = useState(false);
  const isMenuOpen = useIsNarrow() && wantsMenu;
  const [dialog, setDialog] = useState<Shown>();
  const isChat = app.route.view === "chat";
  const title = isChat ? (app.current?.chat.title ?? "New chat") : "Server";
  const showHelp = useCallback(() => setDialog("help"), []);
  const closeMenu = useCallback(() => setMenuOpen(false), []);
  useKeys(app, showHelp, setMenuOpen);
  useEffect(() => {
    if (isMenuOpen) {
      focusSearch();
    }
  }, [isMenuOpen]);
  useClosing(closeMenu);
  useLinks(app);
  useEffect(() => {
    document.title = `${title} · bitnet`;
  }, [title]);
  return (
    <AppContext.Provider value={app}>
      <button type="button" class="skip" onClick={focusComposer}>
        To the message field
      </button>
      <div class={isMenuOpen ? "page menu-open" : "page"}>
        <nav class="sidebar" id="sidebar" aria-label="Chats">
          <Sidebar onHelp={showHelp} />
        </nav>
        {isMenuOpen && <button type="button" class="veil" aria-label="Close the list" onClick={closeMenu} />}
        <main inert={isMenuOpen}>
          <header class="top">
            <IconButton
              icon="menu"
              label="Chats"
              class="menu"
              expanded={isMenuOpen}
              onClick={() => setMenuOpen(!isMenuOpen)}
            />
            <h1 dir="auto">{title}</h1>
            {isChat && <ChatFacts onSettings={() => setDialog("settings")} />}
          </header>
          <Banners />
          {isChat ? <ChatView /> : <ServerView />}
        </main>
      </div>
      {dialog === "settings" && <SettingsDialog onClose={() => setDialog(undefined)} />}
      {dialog === "help" && <HelpDialog onClose={() => setDialog(undefined)} />}
      {app.question !== undefined && <QuestionDialog key={app.question.text} question={app.question} />}
      <Notice />
    </AppContext.Provider>
  );
}

function ChatFacts({ onSettings }: { onSettings: () => void }) {
  const app = useApp();
  const open = app.current;
  const speed = open && app.answerOf(open.chat.id)?.message.measured?.tokensPerSecond;
  const path = open === undefined ? [] : pathTo(open.tree, open.chat.leaf);
  return (
    <div class="facts">
      {speed !== undefined && <span class="speed">{speed.toFixed(1)} tokens/s</span>}
      <ContextMeter path={path} size={app.info?.contextSize} />
      {app.info !== undefined && (
        <span class="model" title="The model that answers">
          {app.info.model}
        </span>
      )}
      <IconButton icon="settings" label="Settings of this chat" disabled={!app.isReady} onClick={onSettings} />
    </div>
  );
}

/** What the user has to know as long as it lasts. */
function Banners() {
  const app = useApp();
  const { problem } = app.archive;
  return (
    <div class="banners" aria-live="polite">
      {!app.isReached && (
        <div class="banner">
          <p>The server is away. Chats can be read; answers come when it is back.</p>
          <button type="button" class="small" onClick={() => void app.readInfo()}>
            Look again
          </button>
        </div>
      )}
      {app.isReached && app.infoProblem !== undefined && (
        <div class="banner">
          <p>{app.infoProblem}</p>
          <button type="button" class="small" onClick={() => void (app.isAllowed ? app.readInfo() : app.changeKey())}>
            {app.isAllowed ? "Try again" : "Give a key"}
          </button>
        </div>
      )}
      {problem !== undefined && (
        <div class="banner wrong">
          <p>
            Chats are not being saved: {problem}. What is shown is kept until this page is closed; export it before, or
            make room and try again.
          </p>
          <button
            type="button"
            class="small"
            onClick={() => void app.exportChats().then((text) => download(text, "bitnet-chats.json"))}
          >
            Export
          </button>
          <button type="button" class="small" onClick={() => void app.archive.retry()}>
            Try again
          </button>
        </div>
      )}
    </div>
  );
}

function Notice() {
  const app = useApp();
  const { notice } = app;
  useEffect(() => {
    const timer = notice === undefined ? undefined : setTimeout(() => app.tell(undefined), 6000);
    return () => clearTimeout(timer);
  }, [app, notice]);
  return (
    <div class="notices" role="status">
      {notice !== undefined && (
        <div class="notice">
          <span>{notice}</span>
          <button type="button" class="quiet small" aria-label="Close the notice" onClick={() => app.tell(undefined)}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  );
}

function focusSearch(): void {
  document.getElementById("search")?.focus();
}

function focusComposer(event: Event): void {
  event.preventDefault();
  document.getElementById("composer")?.focus();
}

/** Whether the list of chats lies over the page; the style sheet has the same width. */
function useIsNarrow(): boolean {
  const [query] = useState(() => matchMedia("(max-width: 48rem)"));
  const [isNarrow, setNarrow] = useState(query.matches);
  useEffect(() => {
    const look = () => setNarrow(query.matches);
    query.addEventListener("change", look);
    return () => query.removeEventListener("change", look);
  }, [query]);
  return isNarrow;
}

/** A chosen link of the list closes it, where it covers the page. */
function useClosing(close: () => void): void {
  useEffect(() => {
    const click = (event: MouseEvent) => {
      if (event.target instanceof Element && event.target.closest("#sidebar a") !== null) {
        close();
      }
    };
    addEventListener("click", click);
    return () => removeEventListener("click", click);
  }, [close]);
}

/** Links within the page: the browser would tell of the new address only after what is typed next. */
function useLinks(app: App): void {
  useEffect(() => {
    const click = (event: MouseEvent) => {
      const link = event.target instanceof Element && event.target.closest<HTMLAnchorElement>('a[href^="#/"]');
      if (link && event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey)) {
        event.preventDefault();
        app.go(readRoute(link.hash));
      }
    };
    addEventListener("click", click);
    return () => removeEventListener("click", click);
  }, [app]);
}

function useKeys(app: App, showHelp: () => void, setMenuOpen: (isOpen: boolean) => void): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
      const isPlain = !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey;
      const key = event.key.toLowerCase();
      if (document.querySelector("dialog[open]") !== null) {
        return;
      }
      if (key === "escape") {
        setMenuOpen(false);
        if (app.current !== undefined) {
          app.stop(app.current.chat.id);
        }
      } else if ((event.ctrlKey || event.metaKey) && key === "k") {
        event.preventDefault();
        setMenuOpen(true);
        focusSearch();
      } else if ((event.ctrlKey || event.metaKey) && event.shiftKey && key === "o") {
        event.preventDefault();
        app.newChat();
      } else if (isPlain && key === "/") {
        focusComposer(event);
      } else if (isPlain && key === "?") {
        showHelp();
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [app, showHelp, setMenuOpen]);
}
