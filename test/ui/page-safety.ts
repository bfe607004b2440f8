// Texts that try to run something, load something or look like the page; the content security policy; accessibility.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterEach, describe, expect, test } from "vitest";
import { eventually, noBrowser, Tab, type TabOptions } from "../support/browser.js";
import { root } from "../support/fixtures.js";

const evil = "https://evil.example";

/** Every one of them would set window.hacked, open a dialog or load from evil.example. */
const attacks = [
  "<script>window.hacked = 1</script>",
  '<img src=x onerror="window.hacked=1">',
  `<img src="${evil}/a.png">`,
  "<svg onload=window.hacked=1><animate onbegin=window.hacked=1 attributeName=x dur=1s></svg>",
  '<iframe srcdoc="<script>parent.hacked=1</script>"></iframe>',
  `<iframe src="${evil}"></iframe><object data="${evil}"></object><embed src="${evil}">`,
  '<a href="javascript:window.hacked=1">a</a>',
  "[a](javascript:window.hacked=1)",
  "[a](JaVaScRiPt:window.hacked=1)",
  "[a](&#106;avascript:window.hacked=1)",
  "[a](java\tscript:window.hacked=1)",
  "[a](data:text/html,<script>window.hacked=1</script>)",
  "[a](vbscript:msgbox(1)) [b](file:///etc/passwd) [c](blob:null/x)",
  '[a](https://x.example "onmouseover=window.hacked=1")',
  '[a](https://x.example/"onmouseover="window.hacked=1)',
  "<javascript:window.hacked=1>",
  `![a](${evil}/b.png) ![b](data:image/svg+xml,<svg onload=window.hacked=1>)`,
  `![a][r]\n\n[r]: ${evil}/c.png`,
  `<style>@import "${evil}/d.css"; body { background: url(${evil}/e.png) }</style>`,
  `<link rel=stylesheet href="${evil}/f.css"><meta http-equiv=refresh content="0;url=${evil}">`,
  `<form action="${evil}"><button formaction="javascript:window.hacked=1">b</button></form>`,
  '<math><mtext><table><mglyph><style><img src onerror="window.hacked=1"></style></mglyph></table></mtext></math>',
  '<div style="position:fixed;inset:0" class="veil" data-copy="code">over the page</div>',
  '<input autofocus onfocus="window.hacked=1"><details open ontoggle="window.hacked=1">',
  '```html" onclick="window.hacked=1\n<script>window.hacked=1</script>\n```',
  "```\n</code></pre><script>window.hacked=1</script>\n```",
  "`<img src=x onerror=window.hacked=1>`",
  "| <img src=x onerror=window.hacked=1> | a |\n|---|---|\n| <svg/onload=window.hacked=1> | [x](javascript:1) |",
  "- [ ] <img src=x onerror=window.hacked=1>\n> <script>window.hacked=1</script>",
  "&lt;script&gt;window.hacked=1&lt;/script&gt; \u0000<script>window.hacked=1</script>",
  '<noscript><p title="</noscript><img src=x onerror=window.hacked=1>">',
  '<a id="page"></a><form name="body"><input name="cookie"></form>',
  "\u202Eevil\u202C <think><img src=x onerror=window.hacked=1></think>",
];

/** Nested deeper than a parser can go. */
const deep = `${">".repeat(3000)} deep ${"[".repeat(3000)} ${"*".repeat(3000)} <img src=x onerror=window.hacked=1>`;

let tab: Tab;

const axe = readFileSync(join(root, "node_modules/axe-core/axe.min.js"), "utf8");

async function open(options: TabOptions = {}): Promise<Tab> {
  tab = await Tab.open(options);
  await tab.page.evaluate(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      Reflect.set(window, "breach", `${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  return tab;
}

/** Nothing ran, nothing was refused by the policy, and messages hold nothing but what Markdown makes. */
async function expectHarmless(page: Page): Promise<void> {
  expect(await page.evaluate(() => [Reflect.get(window, "hacked"), Reflect.get(window, "breach")])).toEqual([
    undefined,
    undefined,
  ]);
  const found = await page
    .locator(".text, .typed, .title, h1")
    .evaluateAll((places) =>
      places
        .flatMap((place) => [...place.querySelectorAll("*")])
        .flatMap((element) => [
          element.localName,
          ...[...element.attributes].map(({ name }) => `@${name}`),
          ...(element instanceof HTMLAnchorElement ? [`${element.protocol} ${element.rel} ${element.target}`] : []),
        ]),
    );
  expect([...new Set(found)].filter((name) => !known.has(name))).toEqual([]);
}

const known = new Set([
  ..."a blockquote br button code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul".split(
    " ",
  ),
  ..."@href @class @start @align @dir @rel @target @tabindex @type @data-copy @role @aria-label".split(" "),
  ...["https:", "http:", "mailto:"].map((protocol) => `${protocol} noopener noreferrer _blank`),
]);

/** What axe says is serious or critical. */
async function seriousProblems(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const { violations } = (await page.evaluate("axe.run()")) as {
    violations: { id: string; impact: string; nodes: { html: string }[] }[];
  };
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
}

describe.skipIf(noBrowser !== undefined)("nothing in a text runs, loads or looks like the page", () => {
  afterEach(() => tab.close());

  test("in an answer, while it comes and when it is there", async () => {
    const { page, server } = await open();
    server.answers.push({ text: attacks.join("\n\n"), thinking: attacks.join("\n\n") });
    await tab.send(attacks.slice(0, 8).join("\n"));
    await eventually(() => tab.answers()).toHaveLength(1);
    expect(await page.locator(".text h1, .text p, .text table, .text pre").count()).toBeGreaterThan(20);
    await tab.see("41.5 tokens/s");
    await expectHarmless(page);
    const text = (await tab.answers())[0] ?? "";
    expect(text).toContain("<script>window.hacked = 1</script>");
    expect(text).toContain('<img src=x onerror="window.hacked=1">');
    server.answers.push({ text: deep });
    await tab.send("Deeper");
    await eventually(() => tab.answers()).toHaveLength(2);
    expect((await tab.answers())[1]).toContain("deep [[[");
    await expectHarmless(page);
  });

  test("in an imported file, as a title, as text, as settings, as a failure", async () => {
    const { page } = await open();
    const text = attacks.join("\n\n");
    const message = {
      id: "__proto__",
      parent: null,
      role: "assistant",
      state: "failed",
      failure: { message: text, hint: text },
      text,
    };
    const odd = [
      { id: "a", parent: "b", role: "user", text: "in a circle" },
      { id: "b", parent: "a", role: "user", text: "in a circle" },
      {
        id: "c",
        parent: "missing",
        role: "<b>",
        text: 7,
        created: "soon",
        probabilities: [{ token: "<img src=x>", logprob: "x" }, null],
      },
      null,
    ];
    const chats = [
      {
        title: attacks[1],
        settings: { system: text, values: { temperature: "<b>", seed: -1, nonsense: 1 }, schema: text },
        messages: [message, ...odd],
        leaf: "__proto__",
      },
      { title: "x".repeat(10_000), messages: "none" },
      7,
    ];
    await tab.importFile(JSON.stringify({ format: "bitnet-chats", version: 1, chats }));
    await tab.see("Imported 2 chats.");
    await tab.see("<script>window.hacked = 1</script>");
    expect(await page.getByText("in a circle").count()).toBe(0);
    await expectHarmless(page);
    await eventually(() => page.locator("h1").innerText()).toBe(attacks[1]);
    await tab.press("Settings of this chat");
    expect(await page.getByRole("textbox", { name: "Temperature" }).inputValue()).toBe("");
    await expectHarmless(page);
  });

  test("in what the server says about itself and in its alerts", async () => {
    const { page, server } = await open();
    server.alerts = attacks.map((message) => ({ message, severity: message, timestamp: message }));
    await page.getByRole("link", { name: "Server" }).click();
    await tab.see("<script>window.hacked = 1</script>");
    await expectHarmless(page);
    expect(await page.locator("main").locator("img, script, iframe, style").count()).toBe(0);
  });

  test("links open elsewhere and tell nothing about this page", async () => {
    const { page, server } = await open();
    server.answers.push({ text: "[a](https://x.example/?q=1&r=2) https://y.example <me@z.example>" });
    await tab.send("Links");
    expect(await tab.answers()).toHaveLength(1);
    const links = await page
      .locator(".text a")
      .evaluateAll((all) =>
        all.map((link) => [link.getAttribute("href"), link.getAttribute("rel"), link.getAttribute("target")]),
      );
    const rest = ["noopener noreferrer", "_blank"];
    expect(links).toEqual([
      ["https://x.example/?q=1&r=2", ...rest],
      ["https://y.example", ...rest],
      ["mailto:me@z.example", ...rest],
    ]);
  });
});

describe.skipIf(noBrowser !== undefined)("axe finds nothing serious", () => {
  afterEach(() => tab.close());

  test.each(["light", "dark"] as const)("in a chat, its settings and its probabilities, %s", async (colorScheme) => {
    const { page, server } = await open({ colorScheme, reducedMotion: "reduce" });
    expect(await seriousProblems(page)).toEqual([]);
    await tab.press("Settings of this chat");
    await page.getByLabel("Ask for the probabilities of tokens").check();
    expect(await seriousProblems(page)).toEqual([]);
    await tab.press("Save");
    server.answers.push({
      thinking: "hm",
      text: "# Title\n\nText with `code` and [a link](https://x.example).\n\n```python\ndef f(): # why\n    return 'a' + 1\n```\n\n> quote\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- اردو",
    });
    await tab.send("Hello");
    await eventually(() => tab.answers()).toHaveLength(1);
    await tab.press("Answer again");
    await tab.see("2 / 2");
    await tab.press("Probabilities");
    server.answers.push({ status: 503, code: "queue_full", message: "Too many requests" });
    await tab.send("More");
    await tab.see("Too many requests");
    expect(await seriousProblems(page)).toEqual([]);
  });

  test("on the server's page and in the list of chats at 360 pixels", async () => {
    const { page, server } = await open({ viewport: { width: 360, height: 640 }, reducedMotion: "reduce" });
    server.alerts = [{ message: "memory", severity: "critical", timestamp: 1_790_000_000 }];
    await tab.press("Chats");
    await page.getByRole("link", { name: "Server" }).click();
    await tab.see("memory");
    expect(await seriousProblems(page)).toEqual([]);
    await tab.press("Chats");
    await page.getByRole("searchbox", { name: "Search chats" }).waitFor();
    expect(await seriousProblems(page)).toEqual([]);
  });
});
