// What all pages have: the menu with its search, keys, light and dark, and places in the address.

import { byId, element, first, inWords, replace } from "./dom.js";

/** @typedef {{ href: string, text: string, label?: string, kind?: string, name?: string, words?: string }} MenuLink */
/** @typedef {{ title: string, links: MenuLink[] }} MenuGroup */

const narrow = matchMedia("(max-width: 56rem)");

/**
 * Fills the menu. A link is found by its title, text, label and `name`; where no link is, by its
 * `words`.
 * @param {MenuGroup[]} groups
 */
export function drawMenu(groups) {
  const parts = groups.map(({ title, links }) =>
    element("section", {}, [
      element("h2", {}, inWords(title)),
      ...links.map(({ href, text, label, kind, name, words }) =>
        element("a", { href, "data-name": `${title} ${label ?? ""} ${text} ${name ?? ""}`.toLowerCase(), "data-words": (words ?? "").toLowerCase() }, [
          ...(label ? [element("span", { class: `verb ${kind ?? ""}` }, label)] : []),
          element("span", {}, inWords(text)),
        ]),
      ),
    ]),
  );
  replace(byId("links"), parts);
}

export function setUpMenu() {
  const search = byId("search", HTMLInputElement);
  byId("menu-button").addEventListener("click", () => showMenu(!isMenuShown()));
  byId("links").addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link) return;
    showMenu(false);
    // The address may say so already: then it does not change, and nobody is told.
    if (link.getAttribute("href") === location.hash) openFromAddress();
  });
  search.addEventListener("input", filter);
  search.addEventListener("focus", () => narrow.matches && showMenu(true));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") shownLinks()[0]?.click();
    else if (event.key === "ArrowDown") shownLinks()[0]?.focus();
    else return;
    event.preventDefault();
    if (event.key === "Enter") search.blur();
  });
  addEventListener("keydown", onKey);
}

function filter() {
  const words = byId("search", HTMLInputElement).value.toLowerCase().split(/\s+/).filter(Boolean);
  const links = all("#links a");
  const named = links.filter(({ dataset }) => words.every((word) => dataset.name?.includes(word)));
  const shown = named.length ? named : links.filter(({ dataset }) => words.every((word) => dataset.words?.includes(word)));
  for (const link of links) link.hidden = !shown.includes(link);
  for (const group of all("#links section")) group.hidden = !group.querySelector("a:not([hidden])");
  byId("no-match").hidden = shownLinks().length > 0;
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const search = byId("search", HTMLInputElement);
  const focused = document.activeElement;
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(focused?.tagName ?? "");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    search.focus();
  }
  if (event.key === "Escape") {
    if (focused === search) {
      search.value = "";
      filter();
      search.blur();
    }
    showMenu(false);
  }
  const by = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key] ?? 0;
  if (!by || isTyping) return;
  const isInMenu = byId("links").contains(focused);
  if (event.key.startsWith("Arrow") && !isInMenu) return;
  event.preventDefault();
  const stops = isInMenu ? shownLinks() : all("main details.route > summary");
  const current = stops.indexOf(/** @type {HTMLElement} */ (focused));
  stops[Math.max(0, Math.min(stops.length - 1, current + by))]?.focus();
}

function shownLinks() {
  return all("#links a:not([hidden])");
}

function isMenuShown() {
  return document.body.classList.contains("menu-shown");
}

// On narrow screens the menu is folded away; on others it always is there.
function showMenu(/** @type {boolean} */ shown) {
  document.body.classList.toggle("menu-shown", shown);
  byId("menu-button").setAttribute("aria-expanded", String(shown));
}

export function openFromAddress() {
  const id = decodeURIComponent(location.hash.slice(1));
  const target = document.getElementById(id);
  if (!target) return;
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    first(target, "summary").focus({ preventScroll: true });
  }
  // What is drawn after the page was loaded is no :target.
  for (const other of all(".meant")) other.classList.remove("meant");
  target.classList.add("meant");
  target.scrollIntoView();
  markCurrent(id);
}

/** @param {string} id */
export function markCurrent(id) {
  for (const link of all("#links a")) {
    if (link.getAttribute("href") !== `#${id}`) link.removeAttribute("aria-current");
    else {
      link.setAttribute("aria-current", "true");
      if (!narrow.matches) link.scrollIntoView({ block: "nearest" });
    }
  }
}

/**
 * @param {string} selector
 * @returns {HTMLElement[]}
 */
function all(selector) {
  return [...document.querySelectorAll(selector)].filter((node) => node instanceof HTMLElement);
}
