// The web page in a real browser, against a server of which every answer is known.

import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { answersOf, noBrowser, openTab, send, startBrowser, type Tab } from "../support/browser.js";
import { FakeChatServer } from "../support/fake-chat-server.js";

let browser: Browser;
let server: FakeChatServer;
let tab: Tab | undefined;

beforeAll(async () => {
  if (noBrowser === undefined) {
    browser = await startBrowser();
  }
});
afterAll(() => browser?.close());
afterEach(async () => {
  expect(tab?.faults).toEqual([]);
  expect(tab?.elsewhere).toEqual([]);
  await tab?.context.close();
  await server?.stop();
  tab = undefined;
});

async function open(...options: Parameters<typeof openTab> extends [unknown, unknown, ...infer Rest] ? Rest : never) {
  server = await FakeChatServer.start();
  tab = await openTab(browser, server.url, ...options);
  return tab.page;
}

if (noBrowser !== undefined) {
  test.skip(noBrowser, () => {});
}

describe.skipIf(noBrowser !== undefined)("a chat", () => {
  test("answers, and a reload shows the same", async () => {
    const page = await open();
    server.answers.push({ text: "Grass is **green**." });
    await send(page, "What colour is grass?");
    expect(await answersOf(page)).toEqual(["Grass is green."]);
    await page.reload();
    expect(await answersOf(page)).toEqual(["Grass is green."]);
    expect(await page.locator(".message.user .typed").innerText()).toBe("What colour is grass?");
    expect(await page.title()).toBe("What colour is grass? · bitnet");
  });
});
