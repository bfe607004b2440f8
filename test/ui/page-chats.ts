// Chats on the web page, in a real browser, against a server of which every answer is known.

import { afterEach, describe, expect, test } from "vitest";
import { eventually, noBrowser, Tab, type TabOptions } from "../support/browser.js";

let tab: Tab;

async function open(options: TabOptions = {}): Promise<Tab> {
  tab = await Tab.open(options);
  return tab;
}

/** A database that opens only when release() is called, once the tab has been told to be slow. */
const slowDatabase = `
  const { open } = IDBFactory.prototype;
  const gate = new Promise((resolve) => {
    window.release = resolve;
  });
  IDBFactory.prototype.open = function (...given) {
    const request = open.apply(this, given);
    const hold = (event) => {
      event.stopImmediatePropagation();
      gate.then(() => request.dispatchEvent(new Event("success")));
    };
    if (sessionStorage.getItem("slow")) {
      request.addEventListener("success", hold, { once: true });
    }
    return request;
  };`;

describe.skipIf(noBrowser !== undefined)("the page", () => {
  afterEach(() => tab.close());

  test("shows an answer as Markdown, and a reload shows the same", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "Grass is **green**.\n\n- in spring\n- in summer" });
    await tab.send("What colour is grass?");
    expect(await tab.answers()).toEqual(["Grass is green.\n\nin spring\nin summer"]);
    expect(await page.locator(".message.assistant strong").innerText()).toBe("green");
    await tab.reload();
    expect(await tab.answers()).toEqual(["Grass is green.\n\nin spring\nin summer"]);
    expect(await tab.questions()).toEqual(["What colour is grass?"]);
    await eventually(() => page.title()).toBe("What colour is grass? · bitnet");
    await tab.send("And straw?");
    await eventually(() => tab.answers()).toHaveLength(2);
    expect(server.requests.at(-1)?.messages).toEqual([
      { role: "user", content: "What colour is grass?" },
      { role: "assistant", content: "Grass is **green**.\n\n- in spring\n- in summer" },
      { role: "user", content: "And straw?" },
    ]);
  });

  test("keeps what came before a stop, tells the server, and goes on from there", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "one two three four", holdAfter: 2 }, { text: " three and four" });
    await tab.send("Count");
    await tab.see("one two");
    await tab.see("40.0 tokens/s");
    await page.keyboard.press("Escape");
    await tab.see("Stopped.");
    await tab.see(/40\.0 tokens\/s · .* · 2 tokens/);
    await eventually(() => server.left).toBe(1);
    await tab.reload();
    expect(await tab.answers()).toEqual(["one two"]);
    await tab.press("Continue");
    await eventually(() => tab.answers()).toEqual(["one two three and four"]);
    expect(server.requests.at(-1)?.messages).toEqual([
      { role: "user", content: "Count" },
      { role: "assistant", content: "one two" },
    ]);
  });

  test("keeps what came before the connection broke, and another try is a version beside it", async () => {
    const { server } = await open();
    server.answers.push({ text: "one two three", holdAfter: 2, cutAfter: 2 }, { text: "whole" });
    await tab.send("Count");
    await tab.see("one two");
    server.release();
    await tab.see("The connection broke in the middle of the answer.");
    expect(await tab.answers()).toEqual(["one two"]);
    await tab.press("Try again");
    await eventually(() => tab.answers()).toEqual(["whole"]);
    await tab.press("Earlier version");
    await eventually(() => tab.answers()).toEqual(["one two"]);
    await tab.reload();
    expect(await tab.answers()).toEqual(["one two"]);
  });

  test("keeps what came before an error of the server", async () => {
    const { server } = await open();
    server.answers.push({ text: "one two three", errorAfter: 2, message: "The model failed" });
    await tab.send("Count");
    await tab.see("The model failed");
    expect(await tab.answers()).toEqual(["one two"]);
  });

  test("says why a request was refused and what to do about it", async () => {
    const { server } = await open();
    server.answers.push({
      status: 400,
      code: "context_length_exceeded",
      message: "maximum context length is 2048 tokens",
    });
    await tab.send("A long story");
    await tab.see(/Maximum context length is 2048 tokens\. Start a new chat/);
    expect(await tab.questions()).toEqual(["A long story"]);
    // There is nothing to copy.
    expect(await tab.page.locator(".message.assistant").getByRole("button", { name: "Copy" }).count()).toBe(0);
  });

  test("an answer that was being written when the page was closed is there afterwards", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "one two three", holdAfter: 2 });
    await tab.send("Count");
    await tab.see("one two");
    await page.reload();
    await tab.see("Stopped.");
    expect(await tab.answers()).toEqual(["one two"]);
  });

  test("an edited question is a branch; the old one stays with its answer", async () => {
    const { page, server } = await open();
    await tab.send("first");
    await eventually(() => tab.answers()).toEqual(["You said: first"]);
    await page.getByRole("textbox", { name: "Message", exact: true }).press("ArrowUp");
    await page.getByLabel("Text of the message").fill("second");
    await page.keyboard.press("Control+Enter");
    await eventually(() => tab.answers()).toEqual(["You said: second"]);
    expect(server.requests.at(-1)?.messages).toEqual([{ role: "user", content: "second" }]);
    await tab.see("2 / 2");
    await tab.press("Earlier version");
    await eventually(() => tab.answers()).toEqual(["You said: first"]);
    await tab.press("Later version");
    await eventually(() => tab.questions()).toEqual(["second"]);
  });

  test("a deleted message is gone with what follows it, after a question", async () => {
    const { page } = await open();
    await tab.send("first");
    await eventually(() => tab.answers()).toHaveLength(1);
    await tab.send("second");
    await eventually(() => tab.answers()).toHaveLength(2);
    await page.locator(".message.user").last().getByRole("button", { name: "Delete message" }).click();
    await tab.see("Delete this message and the 1 that follow it?");
    await page.keyboard.press("Escape");
    expect(await tab.answers()).toHaveLength(2);
    await page.locator(".message.user").last().getByRole("button", { name: "Delete message" }).click();
    await tab.press("Delete");
    await eventually(() => tab.questions()).toEqual(["first"]);
    await tab.reload();
    expect(await tab.answers()).toEqual(["You said: first"]);
    expect(await tab.exported("Export all chats")).not.toContain("second");
  });

  test("copies an answer as Markdown and code as it is", async () => {
    const { page, server } = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    const text = "Run **this**:\n\n```bash\nls -l\n```";
    server.answers.push({ text });
    await tab.send("How?");
    expect(await tab.answers()).toHaveLength(1);
    const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
    await page.locator(".code").getByRole("button", { name: "Copy" }).click();
    await eventually(clipboard).toBe("ls -l");
    await page.locator(".message.assistant footer").getByRole("button", { name: "Copy" }).click();
    await eventually(clipboard).toBe(text);
  });

  test("settings go with every request of the chat; what is empty is the server's default", async () => {
    const { page, server } = await open();
    await tab.press("Settings of this chat");
    const temperature = page.getByRole("textbox", { name: "Temperature" });
    await eventually(() => temperature.getAttribute("placeholder")).toBe("0.8");
    await temperature.fill("200");
    await tab.see("a number from 0 to 100");
    expect(await page.getByRole("button", { name: "Save", exact: true }).isDisabled()).toBe(true);
    await temperature.fill("0.5");
    await page.getByRole("textbox", { name: "Seed" }).fill("7");
    await page.getByRole("textbox", { name: "System prompt" }).fill("Be brief.");
    await page.getByRole("textbox", { name: "JSON schema" }).fill("[1]");
    await tab.see("not a JSON object");
    await page.getByRole("textbox", { name: "JSON schema" }).fill('{"type":"object"}');
    await tab.press("Save");
    await tab.send("Hello");
    expect(await tab.answers()).toHaveLength(1);
    expect(server.requests.at(-1)).toMatchObject({
      temperature: 0.5,
      seed: 7,
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "Hello" },
      ],
      response_format: { type: "json_schema", json_schema: { strict: true, schema: { type: "object" } } },
    });
    expect(server.requests.at(-1)).not.toHaveProperty("top_p");
  });

  test("the likeliest tokens of an answer are shown, token by token", async () => {
    const { page } = await open();
    await tab.press("Settings of this chat");
    await page.getByLabel("Ask for the probabilities of tokens").check();
    await tab.press("Save");
    await tab.send("a b");
    expect(await tab.answers()).toHaveLength(1);
    await tab.press("Probabilities");
    await tab.see("4 tokens, perplexity 2.00.");
    await page.getByRole("listbox", { name: "Tokens" }).press("ArrowRight");
    expect(await page.locator(".alternatives tbody tr").allInnerTexts()).toEqual([
      expect.stringMatching(/·said:\s+50\.0 %\s+-0\.693/),
      expect.stringMatching(/·other\s+25\.0 %\s+-1\.386/),
    ]);
  });

  test("thinking is folded up, and no part of what is sent later", async () => {
    const { page, server } = await open();
    server.answers.push({ thinking: "Let me see.", text: "It is 4." });
    await tab.send("2 + 2?");
    expect(await tab.answers()).toEqual(["It is 4."]);
    expect(await page.getByText("Let me see.").isVisible()).toBe(false);
    await page.locator(".thinking summary").click();
    expect(await page.getByText("Let me see.").isVisible()).toBe(true);
    await tab.send("Sure?");
    await eventually(() => server.requests.length).toBe(2);
    expect(JSON.stringify(server.requests[1])).not.toContain("Let me see.");
  });

  test("tells how far the prompt is read, then speed, time to the first token and the context in use", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "one two", progress: { processed: 30, total: 120 }, holdAfter: 0 });
    await tab.send("Hello");
    await tab.see("Reading the prompt: 30 of 120 tokens");
    server.release();
    await tab.see(/41\.5 tokens\/s · first after \d+\.\d\d s · 2 tokens/);
    await eventually(() => page.locator(".context meter").getAttribute("aria-label")).toBe(
      "26 of 2,048 tokens of context",
    );
  });

  test("finds chats by their titles and by what was said, and renames and deletes them", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "Herons stand on one leg." });
    await tab.send("About birds");
    await eventually(() => tab.answers()).toHaveLength(1);
    await page.getByRole("link", { name: "New chat" }).click();
    await tab.send("About stones");
    await tab.see("You said: About stones");
    const titles = () => page.locator(".chats .title").allInnerTexts();
    expect(await titles()).toEqual(["About stones", "About birds"]);
    await page.getByRole("searchbox", { name: "Search chats" }).fill("ONE leg");
    await eventually(titles).toEqual(["About birds"]);
    expect(await page.locator(".chats .excerpt").innerText()).toContain("stand on one leg");
    await page.getByRole("searchbox", { name: "Search chats" }).fill("");
    await eventually(titles).toHaveLength(2);
    await page.locator(".chats li").last().hover();
    await tab.press("Rename About birds");
    await page.getByLabel("Name of the chat").fill("Herons");
    await page.keyboard.press("Enter");
    await eventually(titles).toContain("Herons");
    await page.locator(".chats li").last().hover();
    await tab.press("Delete Herons");
    await tab.press("Delete");
    await eventually(titles).toEqual(["About stones"]);
    await tab.reload();
    await eventually(titles).toEqual(["About stones"]);
  });

  test("what is typed at once after New chat is chosen is sent in the new chat", async () => {
    const { page, server } = await open();
    await tab.send("first");
    await eventually(() => tab.answers()).toHaveLength(1);
    // A busy browser may tell the page of the new address only after that.
    await page.getByRole("link", { name: "New chat" }).evaluate(async (link: HTMLElement) => {
      link.click();
      await Promise.resolve();
      const field = document.querySelector("textarea");
      Object.assign(field ?? {}, { value: "second" });
      field?.dispatchEvent(new Event("input", { bubbles: true }));
    });
    await page.getByRole("button", { name: "Send" }).click();
    await eventually(() => server.requests.at(-1)?.messages).toEqual([{ role: "user", content: "second" }]);
  });

  test("what is typed while the chats are being read is sent in the chat of the address", async () => {
    const { page } = await open({ before: slowDatabase });
    await tab.send("first");
    await eventually(() => tab.answers()).toHaveLength(1);
    await page.evaluate(() => sessionStorage.setItem("slow", "yes"));
    await tab.reload();
    const field = page.getByRole("textbox", { name: "Message", exact: true });
    await field.fill("second");
    await field.press("Enter");
    expect(await field.inputValue()).toBe("second");
    expect(await page.getByRole("button", { name: "Send" }).isDisabled()).toBe(true);
    await page.evaluate("release()");
    await page.getByRole("button", { name: "Send" }).click();
    await eventually(() => tab.questions()).toEqual(["first", "second"]);
  });

  test("what is typed in one chat is never seen in another", async () => {
    const { page } = await open();
    const field = page.getByRole("textbox", { name: "Message", exact: true });
    for (const text of ["one", "two"]) {
      await page.getByRole("link", { name: "New chat" }).click();
      await tab.send(text);
      await eventually(() => tab.answers()).toEqual([`You said: ${text}`]);
    }
    await field.fill("of the second");
    // A letter as soon as the other chat is there, before it is painted.
    await page.evaluate(() => {
      const title = document.querySelector("h1");
      const type = () => {
        const area = document.querySelector("textarea");
        Object.assign(area ?? {}, { value: `${area?.value}x` });
        area?.dispatchEvent(new Event("input", { bubbles: true }));
      };
      new MutationObserver((_, observer) => {
        observer.disconnect();
        type();
      }).observe(title ?? document, { childList: true, characterData: true, subtree: true });
    });
    await page.getByRole("link", { name: "one" }).click();
    await eventually(() => tab.questions()).toEqual(["one"]);
    expect(await field.inputValue()).toBe("x");
    await page.getByRole("link", { name: "two" }).click();
    await eventually(() => field.inputValue()).toBe("of the second");
  });

  test("parses only the unfinished end of a growing answer", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "First paragraph.\n\nSecond one.\n\n```js\nlet a = 1;\n```\n\nLast.", holdAfter: 5 });
    await tab.send("Hello");
    await tab.see("Second one.");
    await page
      .locator(".text p")
      .first()
      .evaluate((paragraph) => Object.assign(paragraph, { isTheSame: true }));
    server.release();
    await tab.see("Last.");
    const first = page.locator(".text p").first();
    expect(await first.evaluate((paragraph) => Reflect.get(paragraph, "isTheSame"))).toBe(true);
    expect(await page.locator(".code .hljs-keyword").innerText()).toBe("let");
  });

  test("a chat of 200 messages opens at its end, takes text, and rests while an answer comes", async () => {
    const { page, server } = await open();
    await tab.importFile(longChat(200));
    await tab.see("Message 199");
    expect(await page.locator(".message").count()).toBe(200);
    await page.locator(".message").first().scrollIntoViewIfNeeded();
    await tab.see("Message 0");
    await tab.press("To the end");
    await tab.see("Message 199");
    await page.evaluate(() => {
      const earlier = document.querySelectorAll(".message:not(:nth-last-child(-n+2)) .text");
      const changes = { count: 0 };
      Reflect.set(window, "changes", changes);
      const observer = new MutationObserver((records) => {
        changes.count += records.length;
      });
      for (const text of earlier) {
        observer.observe(text, { childList: true, subtree: true, characterData: true });
      }
    });
    server.answers.push({ text: "word ".repeat(200) });
    await tab.send("One more");
    await eventually(() => tab.answers()).toHaveLength(101);
    expect(await page.evaluate(() => Reflect.get(window, "changes").count)).toBe(0);
    const atEnd = () =>
      page.locator(".messages").evaluate((box) => box.scrollHeight - box.scrollTop - box.clientHeight < 50);
    await eventually(atEnd).toBe(true);
  });

  test("does not pull a reader to the end who has scrolled away from it", async () => {
    const { page, server } = await open();
    await tab.importFile(longChat(40));
    await tab.see("Message 39");
    server.answers.push({ text: "line\n\n".repeat(60), holdAfter: 3 });
    await tab.send("One more");
    await tab.see("line");
    await page.locator(".messages").evaluate((box) => box.scrollTo({ top: 0 }));
    await page.getByRole("button", { name: "To the end" }).waitFor();
    server.release();
    expect(await tab.answers()).toHaveLength(21);
    expect(await page.locator(".messages").evaluate((box) => box.scrollTop)).toBeLessThan(50);
  });

  test("follows a text that grows before the page is told of its own scrolling", async () => {
    const { page } = await open();
    await tab.importFile(longChat(40));
    await tab.see("Message 39");
    const box = page.locator(".messages");
    const atEnd = () => box.evaluate((it) => it.scrollHeight - it.scrollTop - it.clientHeight < 2);
    await eventually(atEnd).toBe(true);
    await box.evaluate(async (it) => {
      const isTold = new Promise((resolve) => it.addEventListener("scroll", resolve, { once: true }));
      it.scrollTop -= 20;
      await isTold;
      await new Promise((resolve) => setTimeout(resolve)); // between two pictures, as text comes
      it.scrollTop += 20;
      const column = it.querySelector<HTMLElement>(".column");
      column?.style.setProperty("min-height", `${column.offsetHeight + 500}px`);
    });
    await eventually(atEnd).toBe(true);
  });

  test("reads answers out sentence by sentence", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "It is late. Go home now.", holdAfter: 4 });
    await tab.send("What time is it?");
    const said = () => page.getByRole("log").locator("p").allTextContents();
    await eventually(said).toEqual(["The model is answering.", "It is late."]);
    server.release();
    await eventually(said).toEqual([
      "The model is answering.",
      "It is late.",
      "Go home now.",
      "The answer is complete.",
    ]);
  });

  test("writes Urdu from right to left, and code within it from left to right", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "یہ `npm install` ہے۔\n\nThis is English.\n\n- ایک\n- دو\n\n| نام |\n|---|\n| علی |" });
    await tab.send("اردو");
    expect(await tab.answers()).toHaveLength(1);
    const directions = await page
      .locator(".text :is(p, ul, code, .table)")
      .evaluateAll((elements) => elements.map((element) => getComputedStyle(element).direction));
    expect(directions).toEqual(["rtl", "ltr", "ltr", "rtl", "rtl"]);
    const bubble = await page.locator(".message.user .typed").boundingBox();
    const column = await page.locator(".message.assistant .text").boundingBox();
    expect((bubble?.x ?? 0) + (bubble?.width ?? 0)).toBeCloseTo((column?.x ?? 0) + (column?.width ?? 0), 0);
    // Its title begins at the right, where the buttons of the list are.
    await page.locator(".chats li").hover();
    const title = await page.locator(".chats .title").boundingBox();
    const buttons = await page.locator(".row-actions").boundingBox();
    expect((title?.x ?? 0) + (title?.width ?? 0)).toBeLessThanOrEqual(buttons?.x ?? 0);
  });

  test("fits 360 pixels, where the list of chats opens over the page and closes again", async () => {
    const { page, server } = await open({ viewport: { width: 360, height: 640 } });
    server.answers.push({ text: `${"word".repeat(60)}\n\n| whole | b |\n|---|---|\n| word | ${"long".repeat(20)} |` });
    await tab.send("Hello");
    expect(await tab.answers()).toHaveLength(1);
    const width = () => page.evaluate(() => document.documentElement.scrollWidth);
    expect(await width()).toBe(360);
    expect(await page.locator(".messages").evaluate((box) => box.scrollWidth - box.clientWidth)).toBeLessThanOrEqual(0);
    const heights = await page.locator("td").evaluateAll((cells) => cells.map((cell) => cell.clientHeight));
    expect(Math.max(...heights)).toBeLessThan(60); // a line each
    expect(await page.getByRole("link", { name: "Hello" }).isVisible()).toBe(false);
    await tab.press("Chats");
    await page.getByRole("link", { name: "Hello" }).click();
    await page.getByRole("link", { name: "Hello" }).waitFor({ state: "hidden" });
    await tab.press("Chats");
    await eventually(() => page.evaluate(() => document.activeElement?.id)).toBe("search");
    await page.keyboard.press("Escape");
    await page.getByRole("link", { name: "Hello" }).waitFor({ state: "hidden" });
  });

  test("is light or dark as the system has it, unless the switch says otherwise, which stays", async () => {
    const { page } = await open({ colorScheme: "dark" });
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await ground();
    await page.emulateMedia({ colorScheme: "light" });
    const light = await ground();
    expect(light).toBe("rgb(255, 255, 255)");
    expect(dark).not.toBe(light);
    await tab.press("Colours as the system has them");
    await tab.press("Light colours");
    await eventually(ground).toBe(dark);
    await tab.reload();
    await eventually(ground).toBe(dark);
  });

  test("moves nothing when the system asks for that", async () => {
    const { page, server } = await open({ reducedMotion: "reduce" });
    server.answers.push({ text: "one", holdAfter: 0 });
    await tab.send("Hello");
    await page.locator(".waiting").waitFor();
    expect(await page.evaluate(() => document.getAnimations().length)).toBe(0);
    await page.emulateMedia({ reducedMotion: "no-preference" });
    await eventually(() => page.evaluate(() => document.getAnimations().length)).toBeGreaterThan(0);
  });

  test("works by the keyboard alone", async () => {
    const { page } = await open();
    await eventually(() => page.evaluate(() => document.activeElement?.id)).toBe("composer");
    await page.keyboard.type("one");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("two");
    await page.getByRole("button", { name: "Send", disabled: false }).waitFor(); // before it is ready, Enter sends nothing
    await page.keyboard.press("Enter");
    await eventually(() => tab.questions()).toEqual(["one\ntwo"]);
    expect(await tab.answers()).toHaveLength(1);
    await page.keyboard.press("Control+k");
    await page.keyboard.type("nothing like it");
    await tab.see("Nothing found.");
    await page.keyboard.press("Tab");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog", { name: "Keys" }).waitFor({ state: "hidden" });
    await page.keyboard.press("/");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("composer");
    await page.keyboard.press("Control+Shift+O");
    await tab.see("What would you like to know?");
  });

  test("shows the server's metrics and alerts", async () => {
    const { page, server } = await open();
    server.alerts = [{ timestamp: 1_790_000_000, severity: "critical", message: "error rate 7 % is above 5 %" }];
    await page.getByRole("link", { name: "Server" }).click();
    await tab.see("error rate 7 % is above 5 %");
    const figure = (title: string) => page.locator(".figures li", { hasText: title }).locator("strong").innerText();
    await eventually(() => figure("Requests running")).toBe("1");
    expect(await figure("Cache in use")).toBe("25 %");
    expect(await figure("Memory")).toBe("143 MiB");
    // What was read stays: 80 tokens between two readings, whatever time is between them.
    await page.getByRole("link", { name: "New chat" }).click();
    await page.getByRole("link", { name: "Server" }).click();
    await eventually(async () => Number(await figure("Tokens written per second"))).toBeGreaterThan(0);
  });
});

/** An export of one chat with so many messages in turns. */
function longChat(count: number): string {
  const messages = Array.from({ length: count }, (_, i) => ({
    id: `m${i}`,
    parent: i === 0 ? null : `m${i - 1}`,
    role: i % 2 === 0 ? "user" : "assistant",
    created: i,
    text: `Message ${i}\n\n${"Some **more** text. ".repeat(10)}\n\n\`\`\`js\nconst n = ${i};\n\`\`\``,
  }));
  const chat = { title: "A long chat", created: 1, updated: 2, leaf: `m${count - 1}`, messages };
  return JSON.stringify({ format: "bitnet-chats", version: 1, chats: [chat] });
}
