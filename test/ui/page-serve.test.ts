// The web page as `bitnet serve` serves it, with the bundled model.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually, noBrowser, startBrowser, Tab } from "../support/browser.js";
import { startTestServer, type TestServer } from "../support/serve.js";

let browser: Browser;
let server: TestServer;

beforeAll(async () => {
  if (noBrowser === undefined) {
    [browser, server] = await Promise.all([startBrowser(), startTestServer({ apiPrefix: "/model" })]);
  }
});
afterAll(async () => {
  await browser?.close();
  await server?.[Symbol.asyncDispose]();
});

if (noBrowser !== undefined) {
  test.skip(noBrowser, () => {});
}
describe.skipIf(noBrowser !== undefined)("the page of the server", () => {
  test("answers under a prefix, goes on with a cut answer, and breaks no rule of the server's policy", async () => {
    const tab = await Tab.open(browser, { at: `${server.url}/` });
    await tab.press("Settings of this chat");
    expect(await tab.page.getByRole("textbox", { name: "Temperature" }).getAttribute("placeholder")).toBe("0");
    expect(await tab.page.getByRole("textbox", { name: "Top K" }).getAttribute("placeholder")).toBe("40");
    await tab.page.getByRole("textbox", { name: "Longest answer" }).fill("8");
    await tab.press("Save");
    await tab.send("Once upon a time");
    await tab.see("The answer reached its longest length.");
    const [answer = ""] = await tab.answers();
    expect(answer.length).toBeGreaterThan(8);
    await tab.press("Continue");
    await eventually(async () => ((await tab.answers())[0] ?? "").length).toBeGreaterThan(answer.length);
    expect((await tab.answers())[0]?.startsWith(answer)).toBe(true);
    await tab.close();
  });
});
