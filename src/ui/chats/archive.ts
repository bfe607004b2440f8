// Chats on the disk, and what could not be written there. Nothing is lost silently: a record that the browser refuses
// stays in memory, is shown and exported like all others, and is written when it is tried again.

import type { Chat, Message } from "./chat.js";
import { Database } from "./database.js";

export class Archive {
  /** Told whenever `problem` changes. */
  onProblem: () => void = () => {};
  /** Why the newest records are not on the disk; undefined if all are. */
  problem: string | undefined;

  private database: Database | undefined;
  private readonly unsavedChats = new Map<string, Chat>();
  private readonly unsavedMessages = new Map<string, Message>();
  private readonly unsavedRemovals = { chats: new Set<string>(), messages: new Set<string>() };
  /** Writes go one after the other, so that an older state of a message never replaces a newer one. */
  private queue: Promise<void> = Promise.resolve();

  async open(): Promise<void> {
    try {
      this.database = await Database.open();
      this.setProblem(undefined);
    } catch (error) {
      this.setProblem(reasonOf(error));
    }
  }

  private async connect(): Promise<Database | undefined> {
    if (this.database === undefined || this.database.isClosed) {
      this.database = undefined;
      await this.open();
    }
    return this.database;
  }

  get hasUnsaved(): boolean {
    const removals = this.unsavedRemovals.chats.size + this.unsavedRemovals.messages.size;
    return this.unsavedChats.size + this.unsavedMessages.size + removals > 0;
  }

  async chats(): Promise<Chat[]> {
    const saved = (await (await this.connect())?.chats()) ?? [];
    const all = new Map(saved.map((chat) => [chat.id, chat]));
    for (const id of this.unsavedRemovals.chats) {
      all.delete(id);
    }
    for (const chat of this.unsavedChats.values()) {
      all.set(chat.id, chat);
    }
    return [...all.values()];
  }

  async messages(chat: string): Promise<Message[]> {
    const saved = (await (await this.connect())?.messages(chat)) ?? [];
    const all = new Map(saved.map((message) => [message.id, message]));
    for (const id of this.unsavedRemovals.messages) {
      all.delete(id);
    }
    for (const message of this.unsavedMessages.values()) {
      if (message.chat === chat) {
        all.set(message.id, message);
      }
    }
    return [...all.values()];
  }

  /** By chat: the text of the first message that has these words. Case does not count. */
  async search(words: string): Promise<Map<string, string>> {
    const wanted = words.toLocaleLowerCase();
    const found = new Map<string, string>();
    const visit = (message: Message) => {
      if (!found.has(message.chat) && message.text.toLocaleLowerCase().includes(wanted)) {
        found.set(message.chat, message.text);
      }
    };
    for (const message of this.unsavedMessages.values()) {
      visit(message);
    }
    await (await this.connect())?.scan(visit);
    return found;
  }

  /** Writes a chat's header and messages as one transaction. Never throws: see `problem`. */
  save(chat: Chat, messages: Message[] = []): Promise<void> {
    this.unsavedChats.set(chat.id, chat);
    for (const message of messages) {
      this.unsavedMessages.set(message.id, message);
    }
    return this.flush();
  }

  removeMessages(chat: Chat, ids: string[]): Promise<void> {
    this.unsavedChats.set(chat.id, chat);
    for (const id of ids) {
      this.unsavedMessages.delete(id);
      this.unsavedRemovals.messages.add(id);
    }
    return this.flush();
  }

  removeChat(id: string): Promise<void> {
    this.unsavedChats.delete(id);
    for (const message of this.unsavedMessages.values()) {
      if (message.chat === id) {
        this.unsavedMessages.delete(message.id);
      }
    }
    this.unsavedRemovals.chats.add(id);
    return this.flush();
  }

  /** Tries again after a failure. */
  retry(): Promise<void> {
    return this.flush();
  }

  /** Writes all that is waiting; what a failed write held goes along. */
  private flush(): Promise<void> {
    this.queue = this.queue.then(async () => {
      const database = await this.connect();
      const chats = [...this.unsavedChats.values()];
      const messages = [...this.unsavedMessages.values()];
      const removedChats = [...this.unsavedRemovals.chats];
      const removed = [...this.unsavedRemovals.messages];
      if (database === undefined || chats.length + messages.length + removedChats.length + removed.length === 0) {
        return;
      }
      try {
        await database.write({ chats, messages, removedChats, removed });
      } catch (error) {
        this.setProblem(reasonOf(error));
        return;
      }
      forgetSame(this.unsavedChats, chats);
      forgetSame(this.unsavedMessages, messages);
      for (const id of removedChats) {
        this.unsavedRemovals.chats.delete(id);
      }
      for (const id of removed) {
        this.unsavedRemovals.messages.delete(id);
      }
      this.setProblem(undefined);
    });
    return this.queue;
  }

  private setProblem(problem: string | undefined): void {
    if (problem !== this.problem) {
      this.problem = problem;
      this.onProblem();
    }
  }
}

/** Not those that changed while they were written. */
function forgetSame<Record extends { id: string }>(unsaved: Map<string, Record>, written: Record[]): void {
  for (const record of written) {
    if (unsaved.get(record.id) === record) {
      unsaved.delete(record.id);
    }
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof DOMException && error.name === "QuotaExceededError") {
    return "the disk or the browser's share of it is full";
  }
  const reason = error instanceof Error ? error.message.replace(/\.$/, "") : "";
  return reason === "" ? "this browser keeps no data for this page" : reason;
}
