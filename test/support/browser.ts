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

export function startBrowser(): Promise<Browser> {
  // Root, as in containers, has no sandbox.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

export interface TabOptions extends BrowserContextOptions {
  /** A script that runs before the page's own. */
  before?: string;
  /** Faults of the page that the test is about. */
  expected?: RegExp;
  /** The part of the address after #. */
  hash?: string;
}

/** The page in a tab with a profile of its own, and the server that it came from. */
export class Tab {
  readonly page: Page;
  readonly server: FakeChatServer;
  /** Errors of scripts, dialogs, and breaches of the content security policy. */
  readonly faults: string[] = [];
  /** Addresses of requests that do not go to the server. */
  readonly elsewhere: string[] = [];
  private readonly context: BrowserContext;

  private constructor(context: BrowserContext, page: Page, server: FakeChatServer) {
    this.context = context;
    this.page = page;
    this.server = server;
  }

  static async open(browser: Browser, options: TabOptions = {}, server?: FakeChatServer): Promise<Tab> {
    const { before, expected, hash, ...contextOptions } = options;
    const from = server ?? (await FakeChatServer.start());
    const context = await browser.newContext({ serviceWorkers: "block", ...contextOptions });
    const tab = new Tab(context, await context.newPage(), from);
    tab.watch(expected);
    await context.route(
      (address) => !address.href.startsWith(from.url) && !address.href.startsWith("blob:"),
      (route) => {
        tab.elsewhere.push(route.request().url());
        return route.abort();
      },
    );
    if (before !== undefined) {
      await context.addInitScript(before);
    }
    await tab.page.goto(from.url + (hash ?? ""));
    return tab;
  }

  /** Ends the tab and its server, and says what has gone wrong that no test is about. */
  async close(): Promise<void> {
    await this.context.close();
    await this.server.stop();
    expect(this.faults).toEqual([]);
    expect(this.elsewhere).toEqual([]);
  }

  /** Types a message and sends it. */
  async send(text: string): Promise<void> {
    await this.page.getByRole("textbox", { name: "Message", exact: true }).fill(text);
    await this.page.getByRole("button", { name: "Send" }).click();
  }

  /** The texts of the shown answers, once none is being written. */
  async answers(): Promise<string[]> {
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

  private watch(expected: RegExp | undefined): void {
    const note = (fault: string) => {
      if (expected?.test(fault) !== true) {
        this.faults.push(fault);
      }
    };
    this.page.on("pageerror", (error) => note(error.message));
    this.page.on("console", (message) => {
      if (/Content Security Policy/i.test(message.text())) {
        note(message.text());
      }
    });
    this.page.on("dialog", (dialog) => {
      if (dialog.type() !== "beforeunload") {
        note(`a dialog: ${dialog.message()}`);
      }
      void dialog.accept();
    });
  }
}

/** Looks again until it is so; a loaded machine may take its time. */
export function eventually<Value>(read: () => Value | Promise<Value>): ReturnType<typeof expect.poll> {
  return expect.poll(read, { timeout: 30_000, interval: 30 });
}
