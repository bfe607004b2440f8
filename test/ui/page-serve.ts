// The web page as `bitnet serve` serves it, with the bundled model.

import { describe, expect, test } from "vitest";
import { eventually, noBrowser, Tab } from "../support/browser.js";
import { startTestServer } from "../support/serve.js";

describe.skipIf(noBrowser !== undefined)("the page of the server", () => {
  test("answers under a prefix, goes on with a cut answer, shows its metrics, and breaks no rule of the server's policy", async () => {
    await using server = await startTestServer({ apiPrefix: "/model", monitorInterval: 1, alerts: { memory: 1 } });
    const tab = await Tab.open({ at: `${server.url}/` });
    await tab.press("Settings of this chat");
    const placeholder = (name: string) => tab.page.getByRole("textbox", { name }).getAttribute("placeholder");
    await eventually(() => placeholder("Temperature")).toBe("0");
    await eventually(() => placeholder("Top K")).toBe("40");
    await tab.page.getByRole("textbox", { name: "Longest answer" }).fill("8");
    await tab.press("Save");
    await tab.send("Once upon a time");
    await tab.see("The answer reached its longest length.");
    const [answer = ""] = await tab.answers();
    expect(answer.length).toBeGreaterThan(8);
    await tab.press("Continue");
    await eventually(async () => ((await tab.answers())[0] ?? "").length).toBeGreaterThan(answer.length);
    expect((await tab.answers())[0]?.startsWith(answer)).toBe(true);

    // Every figure has a number; those per second after the second reading.
    const figures = () => tab.page.locator(".figures strong").allInnerTexts();
    await tab.page.getByRole("link", { name: "Server" }).click();
    await eventually(async () => (await figures()).includes("2")).toBe(true); // requests finished
    await tab.see(/High memory usage: \d+\.\d MB/);
    await tab.page.getByRole("link", { name: "New chat" }).click();
    await tab.page.getByRole("link", { name: "Server" }).click();
    await eventually(async () => (await figures()).filter((text) => !/^\d/.test(text))).toEqual([]);
    expect(await figures()).toHaveLength(10);
    await tab.close();
  });
});
