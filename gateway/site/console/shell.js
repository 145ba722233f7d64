// The frame around every page: the menu, who is logged in, and whether everything is there.

import { logOut } from "../shared/session.js";
import { setUpTheme } from "../shared/theme.js";
import { connection } from "./calls/connection.js";
import { findIdentity, identity, isLoggedIn } from "./calls/identity.js";
import { Login } from "./login.js";
import { PAGES, pageOf } from "./pages.js";
import { Empty, Failure, Head, Loading } from "./parts/basics.js";
import { html, useEffect, useRef, useState } from "./parts/html.js";
import { useLoad } from "./parts/load.js";
import { to, useRoute } from "./parts/router.js";
import { useStore } from "./parts/store.js";
import { duration, enumWord } from "./parts/words.js";

/** @import { Page } from "./pages.js" */
/** @import { Identity } from "./calls/types.js" */

export function Shell() {
  const isIn = useStore(isLoggedIn);
  return html`<a class="skip" href="#content" onClick=${skip}>Skip to the content</a>
    ${isIn ? html`<${Inside} />` : html`<${Frame} /><${Away} /><main id="content" tabindex="-1"><${Login} /></main>`}`;
}

function skip(/** @type {Event} */ event) {
  event.preventDefault();
  document.getElementById("content")?.focus();
}

function Inside() {
  const who = useStore(identity);
  const { error, reload } = useLoad(findIdentity, []);
  const [isMenuOpen, setMenuOpen] = useState(false);
  const { path } = useRoute();
  const place = path.join("/");
  useEffect(() => setMenuOpen(false), [place]);
  return html`<${Frame} who=${who} isMenuOpen=${isMenuOpen} toggle=${() => setMenuOpen(!isMenuOpen)} /><${Away} />
    <div class="frame">
      <${Menu} who=${who} isOpen=${isMenuOpen} path=${path} />
      <main id="content" tabindex="-1">${who ? html`<${Current} who=${who} />` : error ? html`<${Failure} error=${error} again=${reload} />` : html`<${Loading} />`}</main>
    </div>`;
}

/** @param {{ who?: Identity | null, isMenuOpen?: boolean, toggle?: () => void }} props */
function Frame({ who, isMenuOpen = false, toggle }) {
  const theme = useRef(/** @type {HTMLButtonElement | null} */ (null));
  useEffect(() => {
    if (theme.current) setUpTheme(theme.current);
  }, []);
  return html`<header>
    ${toggle && html`<button id="menu-button" type="button" class="quiet" aria-expanded=${isMenuOpen} aria-controls="menu" onClick=${toggle}><span aria-hidden="true">☰</span> <span class="word">Menu</span></button>`}
    <a class="home" href="#/"><${Mark} /><span class="name">girih</span></a>
    <span class="spread"></span>
    ${who && html`<span class="who"><b>${who.user?.name ?? who.key?.name}</b> <span class="faint">${enumWord(who.role, "ROLE_") || "key"} in ${who.user ? html`<a href="#/security">${who.tenant.name}</a>` : who.tenant.name}</span></span>`}
    ${who && html`<button type="button" id="log-out" class="second" onClick=${() => logOut()}>Log out</button>`}
    <button ref=${theme} id="theme" type="button" class="quiet" title="Light or dark" aria-label="Light or dark"><span aria-hidden="true">◐</span></button>
  </header>`;
}

const Mark = () => html`<svg class="mark" viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="2.5" aria-hidden="true"><rect x="7" y="7" width="18" height="18" /><rect x="7" y="7" width="18" height="18" transform="rotate(45 16 16)" /></svg>`;

/** What is away, since when: gone as soon as it is back. */
function Away() {
  const { isAway, since, parts } = useStore(connection);
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!isAway) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [isAway]);
  const away = Object.entries(parts).filter(([, part]) => part.status !== "SERVING").map(([name]) => name);
  const what = away.length ? `${away.join(", ")} ${away.length > 1 ? "do" : "does"} not answer` : "The gateway does not answer";
  return html`<div role="status" class=${isAway ? "away" : "hidden"}>${isAway && html`<b>${what}</b> since ${duration(Math.max(1000, Math.floor((now - since) / 1000) * 1000))}. Trying again all the time; nothing is lost.`}</div>`;
}

/** @param {{ who: Identity | null, isOpen: boolean, path: string[] }} props */
function Menu({ who, isOpen, path }) {
  const may = (/** @type {Page} */ page) => !page.scope || Boolean(who?.scopes.includes(page.scope));
  const shown = PAGES.filter((page) => page.group !== undefined && may(page));
  const groups = [...new Set(shown.map((page) => page.group))];
  const current = pageOf(path)?.page;
  const isCurrent = (/** @type {Page} */ page) => page === current || (page.pattern.length > 0 && page.pattern[0] === path[0]);
  return html`<nav id="menu" class=${isOpen ? "open" : ""} aria-label="Pages">
    ${groups.map((group) => html`<section key=${group}>${group && html`<h2>${group}</h2>`}${shown.filter((page) => page.group === group).map((page) => html`<a href=${to(page.pattern)} aria-current=${isCurrent(page) ? "page" : undefined}>${page.title}</a>`)}</section>`)}
    <div class="foot"><a href="/docs">API documentation</a></div>
  </nav>`;
}

/** The page that the address asks for. @param {{ who: Identity }} props */
function Current({ who }) {
  const { path, query } = useRoute();
  const match = pageOf(path);
  const name = match?.page.pattern.join("/");
  const { data, error, reload } = useLoad(async () => ({ name, module: await match?.page.load() }), [name]);
  useEffect(() => {
    document.title = `${match?.page.title ?? "Nothing here"}${path.length > 1 ? `: ${path.slice(1).join(" ")}` : ""} · girih`;
  }, [path.join("/")]);
  useEffect(() => document.getElementById("content")?.scrollTo(0, 0), [path.join("/")]);
  if (!match) return html`<${Head} title="Nothing here" /><${Empty} title="There is no such page"><p><a href="#/">To the overview</a></p><//>`;
  if (match.page.scope && !who.scopes.includes(match.page.scope)) {
    return html`<${Head} title=${match.page.title} /><${Empty} title="You may not see this page"><p>It needs the scope <code>${match.page.scope}</code>, which your role in ${who.tenant.name} does not bring. Ask an admin of the tenant.</p><//>`;
  }
  if (error) return html`<${Failure} error=${error} again=${reload} />`;
  if (!data?.module || data.name !== name) return html`<${Loading} />`;
  return html`<${data.module.Page} key=${path.join("/")} ...${match.taken} query=${query} who=${who} />`;
}
