// Debian's chromium, in which the web page is tested.

import { existsSync } from "node:fs";
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const executablePath = process.env.BITNET_CHROMIUM ?? "/usr/bin/chromium";

/** Why the tests of the page are skipped; undefined if they are not. */
export const noBrowser = existsSync(executablePath)
  ? undefined
  : `the web page is not tested: there is no ${executablePath} (Debian: apt-get install chromium)`;

export function startBrowser(): Promise<Browser> {
  // Root, as in containers, has no sandbox.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A tab with a fresh profile, and what it has complained about. */
export interface Tab {
  page: Page;
  context: BrowserContext;
  /** Errors of scripts and breaches of the content security policy. */
  faults: string[];
  /** Addresses of requests that do not go to the server. */
  elsewhere: string[];
}

export async function openTab(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Tab> {
  const context = await browser.newContext({ serviceWorkers: "block", ...options });
  const elsewhere: string[] = [];
  await context.route(
    (address) => !address.href.startsWith(url),
    (route) => {
      elsewhere.push(route.request().url());
      return route.abort();
    },
  );
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    if (/Content Security Policy/i.test(message.text())) {
      faults.push(message.text());
    }
  });
  page.on("dialog", (dialog) => {
    if (dialog.type() !== "beforeunload") {
      faults.push(`a dialog: ${dialog.message()}`);
    }
    void dialog.accept();
  });
  await page.goto(url);
  return { page, context, faults, elsewhere };
}

/** Types a message and sends it. */
export async function send(page: Page, text: string): Promise<void> {
  await page.getByRole("textbox", { name: "Message", exact: true }).fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

/** The answers that are shown, once none is being written. */
export async function answersOf(page: Page): Promise<string[]> {
  await page.getByRole("button", { name: "Send" }).waitFor();
  return page.locator(".message.assistant .text").allInnerTexts();
}
