// What the web page keeps, and what it says when it cannot: a full disk, no database, no server, a key.

import { afterEach, describe, expect, test } from "vitest";
import { eventually, noBrowser, Tab, type TabOptions } from "../support/browser.js";

let tab: Tab;

async function open(options: TabOptions = {}): Promise<Tab> {
  tab = await Tab.open(options);
  return tab;
}

/** Writes fail as with a full disk while `window.isFull` is true. */
const fullDisk = `
  window.isFull = false;
  const put = IDBObjectStore.prototype.put;
  IDBObjectStore.prototype.put = function (value) {
    if (window.isFull) {
      throw new DOMException("no room", "QuotaExceededError");
    }
    return put.call(this, value);
  };`;

const noDatabase = 'indexedDB.open = () => { throw new DOMException("The operation is insecure.", "SecurityError"); };';

describe.skipIf(noBrowser !== undefined)("the page", () => {
  afterEach(() => tab.close());

  test("says that the disk is full, keeps what it could not write, and writes it when there is room", async () => {
    const { page } = await open({ before: fullDisk });
    await tab.send("before");
    await eventually(() => tab.answers()).toEqual(["You said: before"]);
    await page.evaluate("window.isFull = true");
    await tab.send("after");
    await tab.see(/Chats are not being saved: the disk or the browser's share of it is full\./);
    await eventually(() => tab.answers()).toEqual(["You said: before", "You said: after"]);
    expect(await tab.exported("Export")).toContain("You said: after");
    await page.evaluate("window.isFull = false");
    await tab.press("Try again");
    await page.locator(".banner").waitFor({ state: "detached" });
    await tab.reload();
    expect(await tab.answers()).toEqual(["You said: before", "You said: after"]);
  });

  test("works without a database, and says that nothing is kept", async () => {
    await open({ before: noDatabase });
    await tab.see(/Chats are not being saved: The operation is insecure\./);
    await tab.send("Hello");
    expect(await tab.answers()).toEqual(["You said: Hello"]);
    expect(await tab.exported("Export")).toContain("You said: Hello");
  });

  test("goes on when somebody deletes its database", async () => {
    const { page } = await open();
    await tab.send("first");
    await eventually(() => tab.answers()).toHaveLength(1);
    await page.evaluate(
      () =>
        new Promise((resolve) => {
          indexedDB.deleteDatabase("bitnet-chats").onsuccess = resolve;
        }),
    );
    await tab.send("second");
    await eventually(() => tab.answers()).toHaveLength(2);
    expect(await page.locator(".banner").count()).toBe(0);
    await tab.reload();
    await eventually(() => tab.questions()).toEqual(["second"]);
  });

  test("an export, imported elsewhere, is the same chat with its branches; what is there stays", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "first answer", thinking: "hm" }, { text: "second answer" });
    await tab.send("Question");
    await eventually(() => tab.answers()).toEqual(["first answer"]);
    await tab.press("Answer again");
    await eventually(() => tab.answers()).toEqual(["second answer"]);
    const file = await tab.exported("Export all chats");
    await tab.importFile(file);
    await tab.see("Imported 1 chat.");
    expect(await page.locator(".chats li").count()).toBe(2);
    await tab.close();

    await open();
    await tab.importFile(file);
    await eventually(() => tab.answers()).toEqual(["second answer"]);
    await tab.press("Earlier version");
    await eventually(() => tab.answers()).toEqual(["first answer"]);
    const again = JSON.parse(await tab.exported("Export all chats")).chats[0];
    const original = JSON.parse(file).chats[0];
    const plain = (chat: { messages: object[] }) =>
      chat.messages.map((message) => ({ ...message, id: "", parent: "", chat: "" }));
    expect(plain(again)).toEqual(plain(original));
  });

  test("says what is wrong with a file that is no export", async () => {
    const { page } = await open();
    await tab.importFile("{");
    await tab.see("The file is not JSON.");
    await tab.importFile('{"chats": []}');
    await tab.see(/This is no export of chats/);
    expect(await page.locator(".chats li").count()).toBe(0);
  });

  test("chats can be read while the server is away, and answers come when it is back", async () => {
    const { page, server } = await open();
    await tab.send("Hello");
    await eventually(() => tab.answers()).toEqual(["You said: Hello"]);
    server.isAway = true;
    await tab.send("Are you there?");
    await tab.see("The server is away.");
    await tab.see("The server cannot be reached.");
    expect(await tab.answers()).toEqual(["You said: Hello", ""]);
    server.isAway = false;
    await tab.press("Look again");
    await page.locator(".banner").waitFor({ state: "detached" });
    await tab.press("Try again");
    await eventually(() => tab.answers()).toEqual(["You said: Hello", "You said: Are you there?"]);
  });

  test("opens without the server once it has been there", async () => {
    const { page, server } = await open({ serviceWorkers: "allow" });
    await tab.send("Hello");
    await eventually(() => tab.answers()).toEqual(["You said: Hello"]);
    await page.evaluate(async () => {
      await navigator.serviceWorker.ready;
    });
    const kept = () => page.evaluate(async () => (await (await caches.open("bitnet-page")).keys()).length);
    await eventually(kept).toBeGreaterThan(3);
    server.isAway = true;
    await tab.reload();
    await tab.see("The server is away.");
    expect(await tab.answers()).toEqual(["You said: Hello"]);
  });

  test("asks for a key when the server wants one, and keeps it in this tab alone", async () => {
    const key = "sk-very-secret";
    await open();
    await tab.see("tiny-bitnet");
    tab.server.key = key;
    await tab.send("Hello");
    await tab.page.getByLabel("Key", { exact: true }).fill("wrong");
    await tab.press("Use key");
    await tab.see("The server has refused this key.");
    await eventually(() => tab.page.evaluate(() => document.activeElement?.id)).toBe("key");
    await tab.page.getByLabel("Key", { exact: true }).fill(key);
    await tab.press("Use key");
    await eventually(() => tab.answers()).toEqual(["You said: Hello"]);
    await tab.reload();
    await tab.send("Still here?");
    await eventually(() => tab.answers()).toHaveLength(2);
    const stored = await tab.page.evaluate(() => [JSON.stringify(localStorage), JSON.stringify(sessionStorage)]);
    expect(stored[0]).not.toContain(key);
    expect(stored[1]).toContain(key);
    expect(await tab.exported("Export all chats")).not.toContain(key);
    expect(tab.page.url()).not.toContain(key);
  });

  test("a key that is not given leaves the question with what was refused", async () => {
    await open();
    await tab.see("tiny-bitnet");
    tab.server.key = "secret";
    await tab.send("Hello");
    await tab.press("Cancel");
    await tab.see("Invalid API key");
    expect(await tab.questions()).toEqual(["Hello"]);
    // What the page reads by itself does not ask again.
    await tab.page.getByRole("link", { name: "Server" }).click();
    await tab.page.locator(".failed", { hasText: "Invalid API key" }).waitFor();
    expect(await tab.page.getByRole("dialog").count()).toBe(0);
  });

  test("a key that may not read the metrics can be exchanged for one that may", async () => {
    await open();
    await tab.see("tiny-bitnet");
    Object.assign(tab.server, { key: "for-all", chatKey: "for-chats" });
    await tab.send("Hello");
    await tab.page.getByLabel("Key", { exact: true }).fill("for-chats");
    await tab.press("Use key");
    await eventually(() => tab.answers()).toEqual(["You said: Hello"]);
    await tab.page.getByRole("link", { name: "Server" }).click();
    await tab.see("This needs the scope metrics, which the key or address does not have.");
    await tab.press("Another key");
    await tab.page.getByLabel("Key", { exact: true }).fill("for-all");
    await tab.press("Use key");
    await tab.see("143 MiB");
    expect(await tab.page.locator(".failed").count()).toBe(0);
  });

  test("what was typed and not sent is there after a reload", async () => {
    const { page } = await open();
    const field = page.getByRole("textbox", { name: "Message", exact: true });
    await field.fill("half a thou");
    await tab.reload();
    await eventually(() => field.inputValue()).toBe("half a thou");
  });
});
