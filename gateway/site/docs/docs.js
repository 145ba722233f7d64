// Draws the page that the address asks for. Needs nothing from anywhere but its own server.

import { setUpTheme } from "../shared/theme.js";
import { byId, element, messageOf, replace } from "./dom.js";
import { drawErrors } from "./errors.js";
import { drawGrpc } from "./grpc.js";
import { drawRest } from "./rest.js";
import { setUpSession } from "./session.js";
import { openFromAddress, setUpMenu } from "./shell.js";

/** @import { Health } from "./types.js" */

/** @type {Record<string, { title: string, draw: () => Promise<void> }>} */
const PAGES = {
  "/docs": { title: "REST", draw: drawRest },
  "/docs/grpc": { title: "gRPC", draw: drawGrpc },
  "/docs/errors": { title: "Errors", draw: drawErrors },
};

main();

async function main() {
  const page = PAGES[location.pathname] ?? PAGES["/docs"];
  document.title = `girih: ${page.title}`;
  for (const link of document.querySelectorAll(".pages a")) {
    if (link.getAttribute("href") === location.pathname) link.setAttribute("aria-current", "page");
  }
  setUpTheme(byId("theme"));
  setUpSession();
  setUpMenu();
  showHealth();
  setInterval(showHealth, 10000);
  try {
    await page.draw();
  } catch (error) {
    replace(byId("content"), element("p", { class: "loading" }, `The contract cannot be read: ${messageOf(error)}`));
    return;
  }
  openFromAddress();
  addEventListener("hashchange", openFromAddress);
}

async function showHealth() {
  const badge = byId("service-health");
  try {
    /** @type {Health} */
    const { status, parts } = await (await fetch("/health")).json();
    badge.className = `health ${status === "SERVING" ? "good" : "bad"}`;
    const bad = Object.entries(parts).filter(([, part]) => part.status !== "SERVING").map(([name]) => name);
    badge.textContent = bad.length ? `${bad.join(", ")} away` : status.toLowerCase();
  } catch {
    badge.className = "health bad";
    badge.textContent = "gateway away";
  }
}
