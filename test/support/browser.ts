// Debian's chromium, in which the web page is tested, and the steps that tests of the page share.

import { existsSync } from "node:fs";
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { expect } from "vitest";
import { FakeChatServer } from "./fake-chat-server.js";

const executablePath = process.env.BITNET_CHROMIUM ?? "/usr/bin/chromium";

/** Why the tests of the page are skipped; undefined if they are not. */
export const noBrowser = existsSync(executablePath)
  ? undefined
  : `the web page is not tested: there is no ${executablePath} (Debian: apt-get install chromium)`;

let browser: Promise<Browser> | undefined;

/** Started when the first tab wants it. */
function startBrowser(): Promise<Browser> {
  // Root, as in containers, has no sandbox.
  browser ??= chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  return browser;
}

export async function closeBrowser(): Promise<void> {
  await (await browser)?.close();
}

export interface TabOptions extends BrowserContextOptions {
  /** A script that runs before the page's own. */
  before?: string;
  /** The address of another server than a fake one of its own. */
  at?: string;
}

/** The page in a tab with a profile of its own, and the server that it came from. */
export class Tab {
  readonly page: Page;
  /** Errors of scripts, dialogs, and breaches of the content security policy. */
  readonly faults: string[] = [];
  /** Addresses of requests that do not go to the server. */
  readonly elsewhere: string[] = [];
  private readonly url: string;
  private readonly fake: FakeChatServer | undefined;
  private readonly context: BrowserContext;
  private readonly isShared: boolean;

  private constructor(context: BrowserContext, page: Page, server: FakeChatServer | string, isShared: boolean) {
    this.context = context;
    this.page = page;
    this.fake = typeof server === "string" ? undefined : server;
    this.url = typeof server === "string" ? server : server.url;
    this.isShared = isShared;
  }

  get server(): FakeChatServer {
    if (this.fake === undefined) {
      throw new Error("this tab is one of another server");
    }
    return this.fake;
  }

  /** One tab serves many tests: each has a server of its own, which is an origin of its own, with storage of its own. */
  static async open(options: TabOptions = {}): Promise<Tab> {
    const { before, colorScheme = "light", reducedMotion = "no-preference", viewport, at, ...special } = options;
    const isShared = before === undefined && Object.keys(special).length === 0;
    const server = at ?? (await FakeChatServer.start());
    const context = isShared ? await sharedContext() : await newContext(special);
    const tab = new Tab(context, context.pages()[0] ?? (await context.newPage()), server, isShared);
    if (before !== undefined) {
      await context.addInitScript(before);
    }
    await tab.watch();
    await tab.page.emulateMedia({ colorScheme, reducedMotion });
    await tab.page.setViewportSize(viewport ?? { width: 1280, height: 720 });
    await tab.page.goto(tab.url);
    return tab;
  }

  /** Ends the tab and its server, and says what has gone wrong that no test is about. */
  async close(): Promise<void> {
    if (this.isShared) {
      // Of the same site, so that the next test need not wait for a new process, as it must after about:blank.
      await this.page.goto(new URL("no-page", this.url).href, { waitUntil: "commit" }).catch(() => {});
      this.page.removeAllListeners();
      await this.context.unrouteAll();
      await forget(this.page, this.url);
    } else {
      await this.context.close();
    }
    await this.fake?.stop();
    expect(this.faults).toEqual([]);
    expect(this.elsewhere).toEqual([]);
  }

  /** Types a message and sends it. */
  async send(text: string): Promise<void> {
    await this.page.getByRole("textbox", { name: "Message", exact: true }).fill(text);
    await this.page.getByRole("button", { name: "Send" }).click();
  }

  /** Once all is on the disk: the page would not ask before it goes. */
  async reload(): Promise<void> {
    const mayGo = () => this.page.evaluate('dispatchEvent(new Event("beforeunload", { cancelable: true }))');
    await eventually(mayGo).toBe(true);
    await this.page.reload();
  }

  /** The texts of the shown answers, once the chats are read and none is being written. */
  async answers(): Promise<string[]> {
    await this.page.locator('.messages[aria-busy="false"]').waitFor();
    await this.page.getByRole("button", { name: "Send" }).waitFor();
    return this.page.locator(".message.assistant .text").allInnerTexts();
  }

  questions(): Promise<string[]> {
    return this.page.locator(".message.user .typed").allInnerTexts();
  }

  press(name: string | RegExp) {
    return this.page
      .getByRole("button", { name, exact: typeof name === "string" })
      .last()
      .click();
  }

  /** Waits for a text that is seen. */
  see(text: string | RegExp): Promise<void> {
    return this.page.getByText(text).filter({ visible: true }).first().waitFor();
  }

  async importFile(text: string): Promise<void> {
    await this.page
      .locator('input[type="file"]')
      .setInputFiles({ name: "chats.json", mimeType: "application/json", buffer: Buffer.from(text) });
  }

  /** The file that a press on this button gives. */
  async exported(button: string): Promise<string> {
    const [download] = await Promise.all([this.page.waitForEvent("download"), this.press(button)]);
    const chunks: Buffer[] = [];
    for await (const chunk of await download.createReadStream()) {
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  private async watch(): Promise<void> {
    this.page.on("pageerror", (error) => this.faults.push(error.message));
    this.page.on("console", (message) => {
      if (/Content Security Policy/i.test(message.text())) {
        this.faults.push(message.text());
      }
    });
    this.page.on("dialog", (dialog) => {
      if (dialog.type() !== "beforeunload") {
        this.faults.push(`a dialog: ${dialog.message()}`);
      }
      void dialog.accept();
    });
    await this.context.route(
      ({ href }) => !href.startsWith(this.url) && !href.startsWith("blob:"),
      (route) => {
        this.elsewhere.push(route.request().url());
        return route.abort();
      },
    );
  }
}

let shared: Promise<BrowserContext> | undefined;

function sharedContext(): Promise<BrowserContext> {
  shared ??= newContext({});
  return shared;
}

/** A profile of its own. */
async function newContext(options: BrowserContextOptions): Promise<BrowserContext> {
  const browser = await startBrowser();
  const context = await browser.newContext({ serviceWorkers: "block", ...options });
  context.setDefaultTimeout(120_000);
  return context;
}

/** Ports are used again, and with them origins. */
async function forget(page: Page, url: string): Promise<void> {
  const session = await page.context().newCDPSession(page);
  await session.send("Storage.clearDataForOrigin", { origin: new URL(url).origin, storageTypes: "all" });
  await session.detach();
}

/** Looks again until it is so; a loaded machine may take its time. */
export function eventually<Value>(read: () => Value | Promise<Value>): ReturnType<typeof expect.poll> {
  return expect.poll(read, { timeout: 120_000, interval: 30 });
}
