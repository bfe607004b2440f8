// The web page in a real browser. All of its tests share one: to start it takes as long as many of them.

import { afterAll, expect, test } from "vitest";
import { closeBrowser, noBrowser } from "../support/browser.js";
import "./page-chats.js";
import "./page-storage.js";
import "./page-safety.js";
import "./page-serve.js";

afterAll(closeBrowser);

test("there is a browser for them", ({ skip }) => {
  skip(noBrowser !== undefined, noBrowser); // the reason, in the report
  expect(noBrowser).toBeUndefined();
});
