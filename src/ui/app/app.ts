// The state of the page and every action on it. Components read it, call it, and are told by `subscribe` when to look
// again. Records are replaced, never changed, so that what is the same object needs no new rendering.

import { Archive } from "../chats/archive.js";
import { type Chat, type Message, newId, titleOf } from "../chats/chat.js";
import type { Settings } from "../chats/settings.js";
import { exportChats, importChats, importLimit } from "../chats/transfer.js";
import { newestLeaf, pathTo, subtreeOf } from "../chats/tree.js";
import { Connection, type KeyReason, ServerError } from "../server/connection.js";
import { FigureHistory } from "../server/metrics.js";
import { readServerInfo, type ServerInfo } from "../server/server-info.js";
import { Answer } from "./answer.js";
import { keepDraft, keepUnfinished, readDefaultSettings, takeUnfinished } from "./preferences.js";
import { addressOf, type Route, readRoute } from "./route.js";

/** A chat whose messages are in memory: the one that is shown, and those that are being answered. */
interface OpenChat {
  chat: Chat;
  tree: Map<string, Message>;
}

export interface Question {
  kind: "key" | "confirm";
  text: string;
  action: string;
  answer: (given: string | undefined) => void;
}

const keyTexts: Record<KeyReason, string> = {
  wanted: "The server wants an API key.",
  refused: "The server has refused this key.",
  changed: "From now on this key is used in place of the one before.",
};

/** While text comes, the page is rendered and the disk written at most this often. Milliseconds. */
const renderEvery = 50;
const saveEvery = 1000;

/** When a server is asked again that could not say what it is. Milliseconds. */
const soonest = 1000;
const latest = 15_000;

export class App {
  readonly archive = new Archive();
  readonly connection = new Connection();
  /** What is shown. */
  route: Route = readRoute(location.hash);
  chats: Chat[] = [];
  info: ServerInfo | undefined;
  /** Why `info` is not there, or not whole, though the server answers. */
  infoProblem: string | undefined;
  isReached = true;
  /** Whether the key that there is, if any, is enough to read `info`. */
  isAllowed = true;
  readonly figures = new FigureHistory();
  question: Question | undefined;
  notice: string | undefined;
  /** Text of the search, and by chat what was found. */
  search: { words: string; found: Map<string, string> } | undefined;

  /** What was asked for last; where a chat has to be read first, `route` follows. */
  private wanted: Route = this.route;
  /** Of all chats, once. */
  private reading: Promise<void> | undefined;
  private hasRead = false;
  private readonly open = new Map<string, OpenChat>();
  private readonly answers = new Map<string, Answer>();
  private readonly listeners = new Set<() => void>();
  private readonly otherTabs = new BroadcastChannel("bitnet-chats");
  private timer: number | undefined;
  private askingServer: Promise<void> | undefined;
  private looking: number | undefined;
  private looksAgainAfter = soonest;

  async start(): Promise<void> {
    this.connection.askForKey = (reason) => this.ask({ kind: "key", text: keyTexts[reason], action: "Use key" });
    this.connection.onReached = (reached) => this.setReached(reached);
    this.archive.onProblem = () => this.changed();
    this.otherTabs.onmessage = () => void this.readChats();
    addEventListener("hashchange", () => void this.follow(readRoute(location.hash)));
    addEventListener("online", () => void this.readInfo());
    addEventListener("beforeunload", (event) => {
      if (this.archive.hasUnsaved || this.answers.size > 0) {
        event.preventDefault();
      }
    });
    addEventListener("pagehide", () => keepUnfinished([...this.answers.values()].map(({ message }) => message)));
    void this.readInfo();
    this.reading = this.archive
      .open()
      .then(() => this.readChats())
      .then(() => this.readUnfinished());
    await this.follow(this.wanted);
    await this.reading;
    this.hasRead = true;
    this.changed();
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  // What is shown.

  /** False while the chats, or the messages of the one in the address, are being read: nothing can be sent yet. */
  get isReady(): boolean {
    return this.hasRead && (this.shownChat === "" || this.current !== undefined);
  }

  /** The id of the chat that is shown; empty if it is none, or a new one. */
  get shownChat(): string {
    return (this.route.view === "chat" ? this.route.chat : undefined) ?? "";
  }

  get current(): OpenChat | undefined {
    return this.open.get(this.shownChat);
  }

  answerOf(chat: string): Answer | undefined {
    return this.answers.get(chat);
  }

  /** At once, where nothing has to be read: what is typed next belongs to what was chosen. */
  go(route: Route): void {
    const address = addressOf(route);
    if (address !== location.hash) {
      history.pushState(null, "", address);
    }
    void this.follow(route);
  }

  private async follow(route: Route): Promise<void> {
    this.wanted = route;
    const isThere = route.view !== "chat" || route.chat === undefined || (await this.load(route.chat));
    if (this.wanted === route) {
      this.show(isThere ? route : { view: "chat", chat: undefined });
      if (!isThere) {
        history.replaceState(null, "", addressOf(this.route));
      }
    }
    for (const id of this.open.keys()) {
      if (id !== this.shownChat && !this.answers.has(id)) {
        this.open.delete(id);
      }
    }
    this.changed();
  }

  private show(route: Route): void {
    this.wanted = route;
    this.route = route;
  }

  private async load(id: string): Promise<boolean> {
    await this.reading;
    const chat = this.chats.find((one) => one.id === id);
    if (chat === undefined) {
      return false;
    }
    if (!this.open.has(id)) {
      const messages = await this.readOrTell(() => this.archive.messages(id), []);
      // What is still being written in the records belongs to a page that was closed.
      const settled = messages.map((message) => (message.state === "writing" ? stopped(message) : message));
      this.open.set(id, { chat, tree: new Map(settled.map((message) => [message.id, message])) });
    }
    return true;
  }

  private async readChats(): Promise<void> {
    const chats = await this.readOrTell(() => this.archive.chats(), this.chats);
    this.chats = chats.sort((a, b) => b.updated - a.updated);
    this.changed();
  }

  private async readOrTell<Value>(read: () => Promise<Value>, otherwise: Value): Promise<Value> {
    try {
      return await read();
    } catch (error) {
      this.tell(`The chats cannot be read: ${error instanceof Error ? error.message : "unknown error"}.`);
      return otherwise;
    }
  }

  // The server.

  /** A server that is away, or loads its model, is asked again, less and less often. */
  readInfo(): Promise<void> {
    this.askingServer ??= this.lookAtServer().finally(() => {
      this.askingServer = undefined;
    });
    return this.askingServer;
  }

  /** Asks the user for a key, or for another one than the one that may not do enough. */
  async changeKey(): Promise<void> {
    if (await this.connection.newKey(this.connection.hasKey ? "changed" : "wanted")) {
      await this.readInfo();
    }
  }

  private async lookAtServer(): Promise<void> {
    try {
      this.info = await readServerInfo(this.connection);
      this.infoProblem = undefined;
    } catch (error) {
      this.infoProblem = error instanceof Error ? error.message : "unknown error";
      this.isAllowed = !(error instanceof ServerError && error.isRefused);
    }
    this.looksAgainAfter = this.infoProblem === undefined ? soonest : Math.min(this.looksAgainAfter * 2, latest);
    clearTimeout(this.looking);
    if (this.infoProblem !== undefined && this.isAllowed) {
      this.looking = window.setTimeout(() => void this.readInfo(), this.looksAgainAfter);
    }
    this.changed();
  }

  private setReached(reached: boolean): void {
    if (reached !== this.isReached) {
      this.isReached = reached;
      this.changed();
      void this.readInfo();
    }
  }

  // Questions and notices.

  ask(question: Omit<Question, "answer">): Promise<string | undefined> {
    this.question?.answer(undefined);
    return new Promise((resolve) => {
      const answer = (given: string | undefined) => {
        this.question = undefined;
        this.changed();
        resolve(given);
      };
      this.question = { ...question, answer };
      this.changed();
    });
  }

  tell(notice: string | undefined): void {
    this.notice = notice;
    this.changed();
  }

  // Messages.

  /** Sends a message at the end of what is shown; opens a chat if none is. */
  async send(text: string): Promise<void> {
    let open = this.current;
    if (open === undefined) {
      open = this.addChat(readDefaultSettings(), titleOf(text));
    } else if (open.chat.leaf === null) {
      open.chat = { ...open.chat, title: titleOf(text) };
    }
    const message = this.newMessage(open, "user", open.chat.leaf, text);
    await this.answer(open, message);
  }

  /** Another answer beside this one. */
  async regenerate(message: Message): Promise<void> {
    const open = this.openChatOf(message);
    const asked = message.parent === null ? undefined : open?.tree.get(message.parent);
    if (open !== undefined && asked !== undefined) {
      await this.answer(open, asked);
    }
  }

  /** The edited text is a new branch; the old one stays. A user's message is then answered. */
  async edit(message: Message, text: string): Promise<void> {
    const open = this.openChatOf(message);
    if (open === undefined || text === message.text) {
      return;
    }
    const edited = this.newMessage(open, message.role, message.parent, text);
    if (message.role === "user") {
      await this.answer(open, edited);
    } else {
      await this.keep(open, [edited], edited.id);
    }
  }

  /** Goes on where an answer was stopped, broke off or reached its longest length. */
  async continueAnswer(message: Message): Promise<void> {
    const open = this.openChatOf(message);
    if (open !== undefined) {
      await this.run(open, message, pathTo(open.tree, message.id));
    }
  }

  async choose(message: Message): Promise<void> {
    const open = this.openChatOf(message);
    if (open !== undefined) {
      await this.keep(open, [], newestLeaf(open.tree, message.id));
    }
  }

  /** Removes a message and all that follows it. */
  async removeMessage(message: Message): Promise<void> {
    const open = this.openChatOf(message);
    if (open === undefined) {
      return;
    }
    const ids = subtreeOf(open.tree, message.id);
    const sure = await this.ask({
      kind: "confirm",
      text: ids.length === 1 ? "Delete this message?" : `Delete this message and the ${ids.length - 1} that follow it?`,
      action: "Delete",
    });
    if (sure === undefined) {
      return;
    }
    if (ids.includes(this.answers.get(open.chat.id)?.message.id ?? "")) {
      this.answers.get(open.chat.id)?.stop();
    }
    const tree = new Map([...open.tree].filter(([id]) => !ids.includes(id)));
    const sibling = [...tree.values()].filter(({ parent }) => parent === message.parent).at(-1);
    const leaf = sibling === undefined ? message.parent : newestLeaf(tree, sibling.id);
    open.tree = tree;
    this.setChat(open, { ...open.chat, leaf, updated: Date.now() });
    await this.archive.removeMessages(open.chat, ids);
  }

  stop(chat: string): void {
    this.answers.get(chat)?.stop();
  }

  private openChatOf(message: Message): OpenChat | undefined {
    return this.open.get(message.chat);
  }

  private newMessage(open: OpenChat, role: Message["role"], parent: string | null, text: string): Message {
    const created = Math.max(Date.now(), 1 + Math.max(0, ...[...open.tree.values()].map((one) => one.created)));
    return { id: newId(), chat: open.chat.id, parent, role, created, text, thinking: "", state: "done" };
  }

  private async answer(open: OpenChat, asked: Message): Promise<void> {
    if (this.answers.has(open.chat.id)) {
      return;
    }
    const isNew = !open.tree.has(asked.id);
    open.tree = new Map(open.tree).set(asked.id, asked);
    const answer = this.newMessage(open, "assistant", asked.id, "");
    this.setChat(open, { ...open.chat, leaf: answer.id });
    await this.run(open, answer, pathTo(open.tree, asked.id), isNew ? [asked] : []);
  }

  /** Streams into `message`, which is on the disk before the request is made, each second, and at the end. */
  private async run(open: OpenChat, message: Message, path: Message[], before: Message[] = []): Promise<void> {
    const answer = new Answer(message);
    this.answers.set(open.chat.id, answer);
    await this.keep(open, [...before, answer.message], message.id);
    this.otherTabs.postMessage("changed");
    let saved = performance.now();
    await answer.read(this.connection, open.chat, path, () => {
      open.tree.set(message.id, answer.message);
      this.changedSoon();
      if (performance.now() - saved > saveEvery) {
        saved = performance.now();
        void this.archive.save(open.chat, [answer.message]);
      }
    });
    this.answers.delete(open.chat.id);
    if (open.tree.has(message.id)) {
      await this.keep(open, [answer.message], open.chat.leaf);
    }
    this.changed();
  }

  /** Answers that were being written when a page went away, as far as they had come. */
  private async readUnfinished(): Promise<void> {
    for (const { id, chat, text, thinking } of takeUnfinished()) {
      const header = this.chats.find((one) => one.id === chat);
      const saved = header && (await this.archive.messages(chat)).find((one) => one.id === id);
      if (header !== undefined && saved?.state === "writing" && text.startsWith(saved.text)) {
        await this.archive.save(header, [{ ...saved, text, thinking, state: "stopped" }]);
      }
    }
  }

  private async keep(open: OpenChat, messages: Message[], leaf: string | null): Promise<void> {
    open.tree = new Map([...open.tree, ...messages.map((message) => [message.id, message] as const)]);
    this.setChat(open, { ...open.chat, leaf, updated: Date.now() });
    await this.archive.save(open.chat, messages);
  }

  // Chats.

  newChat(): void {
    this.go({ view: "chat", chat: undefined });
  }

  private addChat(settings: Settings, title: string): OpenChat {
    const now = Date.now();
    const chat: Chat = { id: newId(), title, created: now, updated: now, leaf: null, settings };
    const open: OpenChat = { chat, tree: new Map() };
    this.open.set(chat.id, open);
    this.setChat(open, chat);
    this.show({ view: "chat", chat: chat.id });
    history.pushState(null, "", addressOf(this.route));
    void navigator.storage?.persist?.().catch(() => false);
    return open;
  }

  private setChat(open: OpenChat, chat: Chat): void {
    open.chat = chat;
    this.chats = [chat, ...this.chats.filter(({ id }) => id !== chat.id)].sort((a, b) => b.updated - a.updated);
    this.changed();
  }

  async rename(chat: Chat, title: string): Promise<void> {
    const open = (await this.load(chat.id)) ? this.open.get(chat.id) : undefined;
    if (open !== undefined && title.trim() !== "") {
      this.setChat(open, { ...open.chat, title: title.trim().slice(0, 200) });
      await this.archive.save(open.chat);
    }
  }

  async removeChat(chat: Chat): Promise<void> {
    const sure = await this.ask({
      kind: "confirm",
      text: `Delete the chat “${chat.title}”? This cannot be undone.`,
      action: "Delete",
    });
    if (sure === undefined) {
      return;
    }
    this.answers.get(chat.id)?.stop();
    this.open.delete(chat.id);
    this.chats = this.chats.filter(({ id }) => id !== chat.id);
    keepDraft(chat.id, "");
    if (this.route.view === "chat" && this.route.chat === chat.id) {
      this.newChat();
    }
    this.changed();
    await this.archive.removeChat(chat.id);
    this.otherTabs.postMessage("changed");
  }

  /** Settings of the chat that is shown; before its first message one is made for them. */
  async changeSettings(settings: Settings): Promise<void> {
    const open = this.current ?? this.addChat(settings, "New chat");
    this.setChat(open, { ...open.chat, settings });
    await this.archive.save(open.chat);
  }

  /** An export of these chats, of all by default; undefined if they cannot be read, which is told. */
  exportChats(chats: Chat[] = this.chats): Promise<string | undefined> {
    return this.readOrTell(async () => {
      const stored = chats.map(async (chat) => ({ chat, messages: await this.archive.messages(chat.id) }));
      return exportChats(await Promise.all(stored));
    }, undefined);
  }

  async importFile(file: Blob): Promise<void> {
    try {
      if (file.size > importLimit) {
        throw new Error(`The file has more than ${importLimit / 2 ** 20} MiB.`);
      }
      const stored = importChats(await file.text());
      for (const { chat, messages } of stored) {
        await this.archive.save(chat, messages);
      }
      await this.readChats();
      this.tell(`Imported ${stored.length} ${stored.length === 1 ? "chat" : "chats"}.`);
      const first = stored[0];
      if (first !== undefined) {
        this.go({ view: "chat", chat: first.chat.id });
      }
    } catch (error) {
      this.tell(error instanceof Error ? error.message : "The file cannot be read.");
    }
  }

  async find(words: string): Promise<void> {
    if (words.trim() === "") {
      this.search = undefined;
      this.changed();
      return;
    }
    this.search = { words, found: this.search?.found ?? new Map() };
    this.changed();
    const found = await this.readOrTell(() => this.archive.search(words.trim()), new Map<string, string>());
    if (this.search?.words === words) {
      this.search = { words, found };
      this.changed();
    }
  }

  private changed(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    for (const listener of this.listeners) {
      listener();
    }
  }

  private changedSoon(): void {
    this.timer ??= window.setTimeout(() => this.changed(), renderEvery);
  }
}

function stopped(message: Message): Message {
  return { ...message, state: "stopped" };
}
