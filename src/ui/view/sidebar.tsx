// The list of chats, its search, and what concerns all of them.

import { useRef, useState } from "preact/hooks";
import { keepTheme, readTheme, type Theme } from "../app/preferences.js";
import { addressOf } from "../app/route.js";
import type { Chat } from "../chats/chat.js";
import { Icon, IconButton, type IconName } from "./icons.js";
import { useApp } from "./use-app.js";

export function Sidebar({ onHelp }: { onHelp: () => void }) {
  const app = useApp();
  const chats = foundChats(app.chats, app.search);
  return (
    <>
      <div class="row brand">
        <a href="#/" class="name">
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="8" />
            <path d="M6 16h5M21 16h5M23.5 13.5v5M16 13.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5z" />
          </svg>
          bitnet
        </a>
        <a href="#/" class="button quiet icon-button" aria-label="New chat" title="New chat">
          <Icon name="plus" />
        </a>
      </div>
      <label class="search">
        <Icon name="search" />
        <span class="unseen">Search chats</span>
        <input
          id="search"
          type="search"
          dir="auto"
          placeholder="Search chats"
          value={app.search?.words ?? ""}
          onInput={(event) => void app.find(event.currentTarget.value)}
        />
      </label>
      <ul class="chats" aria-label="Chats">
        {chats.map(({ chat, excerpt }) => (
          <ChatRow key={chat.id} chat={chat} excerpt={excerpt} />
        ))}
      </ul>
      {chats.length === 0 && app.isReady && (
        <p class="faint nothing">{app.search === undefined ? "No chats yet." : "Nothing found."}</p>
      )}
      <div class="tools">
        <a
          href={addressOf({ view: "server" })}
          class="button quiet"
          aria-current={app.route.view === "server" ? "page" : undefined}
        >
          <Icon name="chart" /> Server
        </a>
        <div class="row">
          <Files />
          <ThemeButton />
          <IconButton icon="help" label="Keys" onClick={onHelp} />
        </div>
      </div>
    </>
  );
}

interface FoundChat {
  chat: Chat;
  excerpt?: string;
}

function foundChats(chats: Chat[], search: { words: string; found: Map<string, string> } | undefined): FoundChat[] {
  if (search === undefined) {
    return chats.map((chat) => ({ chat }));
  }
  const words = search.words.trim().toLocaleLowerCase();
  return chats.flatMap((chat) => {
    const text = search.found.get(chat.id);
    return text !== undefined || chat.title.toLocaleLowerCase().includes(words)
      ? [{ chat, excerpt: text === undefined ? undefined : excerptOf(text, words) }]
      : [];
  });
}

/** The words with what stands around them. */
function excerptOf(text: string, words: string): string {
  const at = Math.max(0, text.toLocaleLowerCase().indexOf(words));
  const start = Math.max(0, at - 20);
  return `${start > 0 ? "…" : ""}${text.slice(start, at + words.length + 40).replace(/\s+/g, " ")}`;
}

function ChatRow({ chat, excerpt }: FoundChat) {
  const app = useApp();
  const [isRenaming, setRenaming] = useState(false);
  const isCurrent = app.current?.chat.id === chat.id;
  if (isRenaming) {
    return (
      <li>
        <RenameForm chat={chat} onDone={() => setRenaming(false)} />
      </li>
    );
  }
  return (
    <li class={isCurrent ? "current" : ""}>
      <a href={addressOf({ view: "chat", chat: chat.id })} aria-current={isCurrent ? "page" : undefined}>
        <bdi class="title">{chat.title}</bdi>
        {app.answerOf(chat.id) !== undefined && <span class="dot" role="img" aria-label="being answered" />}
        {excerpt !== undefined && <bdi class="excerpt">{excerpt}</bdi>}
      </a>
      <div class="row-actions">
        <IconButton icon="edit" label={`Rename ${chat.title}`} onClick={() => setRenaming(true)} />
        <IconButton
          icon="save"
          label={`Export ${chat.title}`}
          onClick={() => void app.exportChats([chat]).then((text) => download(text, "bitnet-chat.json"))}
        />
        <IconButton icon="delete" label={`Delete ${chat.title}`} onClick={() => void app.removeChat(chat)} />
      </div>
    </li>
  );
}

function RenameForm({ chat, onDone }: { chat: Chat; onDone: () => void }) {
  const app = useApp();
  const field = useRef<HTMLInputElement>(null);
  const save = () => {
    onDone();
    void app.rename(chat, field.current?.value ?? "");
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        save();
      }}
    >
      <input
        aria-label="Name of the chat"
        dir="auto"
        defaultValue={chat.title}
        ref={(element) => {
          field.current = element;
          element?.focus();
        }}
        onBlur={save}
        onKeyDown={(event) => event.key === "Escape" && onDone()}
      />
    </form>
  );
}

function Files() {
  const app = useApp();
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <IconButton
        icon="save"
        label="Export all chats"
        disabled={app.chats.length === 0}
        onClick={() => void app.exportChats().then((text) => download(text, "bitnet-chats.json"))}
      />
      <IconButton icon="load" label="Import chats" onClick={() => input.current?.click()} />
      <input
        ref={input}
        type="file"
        accept=".json,application/json"
        hidden
        aria-label="File to import"
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          if (file !== undefined) {
            void app.importFile(file);
          }
        }}
      />
    </>
  );
}

/** Gives the user a file; nothing, if there is no text for it. */
export function download(text: string | undefined, name: string): void {
  if (text === undefined) {
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const themes: Record<Theme, { icon: IconName; next: Theme; label: string }> = {
  auto: { icon: "auto", next: "light", label: "Colours as the system has them" },
  light: { icon: "sun", next: "dark", label: "Light colours" },
  dark: { icon: "moon", next: "auto", label: "Dark colours" },
};

function ThemeButton() {
  const [theme, setTheme] = useState(readTheme);
  const { icon, next, label } = themes[theme];
  return (
    <IconButton
      icon={icon}
      label={label}
      onClick={() => {
        keepTheme(next);
        setTheme(next);
      }}
    />
  );
}
