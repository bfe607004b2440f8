// The chats in IndexedDB. A message and the header of its chat are one transaction: both are there, or neither.

import type { Chat, Message } from "./chat.js";

const name = "bitnet-chats";
const version = 1;

export class Database {
  /** The browser has ended it, or another tab needed that: it has to be opened anew. */
  isClosed = false;
  private readonly connection: IDBDatabase;

  private constructor(connection: IDBDatabase) {
    this.connection = connection;
    connection.onclose = () => {
      this.isClosed = true;
    };
    // Somebody wants to change the tables or to delete them.
    connection.onversionchange = () => {
      connection.close();
      this.isClosed = true;
    };
  }

  static open(): Promise<Database> {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(name, version);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("chats", { keyPath: "id" });
        request.result.createObjectStore("messages", { keyPath: "id" }).createIndex("chat", "chat");
      };
      request.onsuccess = () => resolve(new Database(request.result));
      request.onerror = () => reject(request.error);
      request.onblocked = () => reject(new Error("another tab with an older version of this page is open: close it"));
    });
  }

  chats(): Promise<Chat[]> {
    return this.read("chats", (store) => store.getAll());
  }

  messages(chat: string): Promise<Message[]> {
    return this.read("messages", (store) => store.index("chat").getAll(chat));
  }

  /** Every message of every chat, one after the other: they need not fit in memory together. */
  scan(visit: (message: Message) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = this.connection.transaction("messages").objectStore("messages").openCursor();
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        if (request.result === null) {
          resolve();
          return;
        }
        visit(request.result.value);
        request.result.continue();
      };
    });
  }

  /** All of it or nothing. Settles when it is on the disk, not when it was asked for. */
  write(change: { chats?: Chat[]; messages?: Message[]; removedChats?: string[]; removed?: string[] }): Promise<void> {
    return new Promise((resolve, reject) => {
      const transaction = this.connection.transaction(["chats", "messages"], "readwrite", { durability: "strict" });
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("the browser gave no reason"));
      const chats = transaction.objectStore("chats");
      const messages = transaction.objectStore("messages");
      for (const chat of change.chats ?? []) {
        chats.put(chat);
      }
      for (const message of change.messages ?? []) {
        messages.put(message);
      }
      for (const id of change.removed ?? []) {
        messages.delete(id);
      }
      for (const id of change.removedChats ?? []) {
        chats.delete(id);
        removeMessagesOf(messages, id);
      }
    });
  }

  private read<Row>(store: string, ask: (store: IDBObjectStore) => IDBRequest<Row[]>): Promise<Row[]> {
    return new Promise((resolve, reject) => {
      const request = ask(this.connection.transaction(store).objectStore(store));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  }
}

function removeMessagesOf(messages: IDBObjectStore, chat: string): void {
  const request = messages.index("chat").openKeyCursor(chat);
  request.onsuccess = () => {
    if (request.result !== null) {
      messages.delete(request.result.primaryKey);
      request.result.continue();
    }
  };
}
