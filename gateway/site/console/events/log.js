// The browser of a log or a stream: rows in the order of the log, the oldest above, the newest below.
// Only the rows in sight are elements, however many there are.

import { connection } from "../calls/connection.js";
import { Empty, Failure } from "../parts/basics.js";
import { Component, html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../parts/html.js";
import { go, to } from "../parts/router.js";
import { count, counted, shortTime, utcTime } from "../parts/words.js";
import { EventWindow } from "./window.js";

/** @import { Query } from "../calls/api.js" */
/** @import { Place, Row } from "./window.js" */

const SPARE_ROWS = 8;
const NARROW_REM = 34;
/* As events.css has them. */
const ROW_REM = 2.1;
const ROW_REM_NARROW = 3.4;
const STATES = { connecting: "Connecting …", live: "Live", behind: "Catching up …", away: "Connection lost: trying again …", stopped: "Stopped" };

/**
 * @param {{ path: string, query: Query, isStream?: boolean, begin?: Place, here: string[], place: Record<string, string>, empty: any }} props
 *   `here` and `place` are the address of the page; `empty` is shown where there is nothing
 */
export function Log({ path, query, isStream = false, begin = { kind: "newest" }, here, place, empty }) {
  const [, redraw] = useState(0);
  const [text, setText] = useState("");
  const key = JSON.stringify([path, query, begin]);
  const events = useMemo(() => new EventWindow(path, query, () => redraw((last) => last + 1)), [key]);
  const [isPinned, setPinned] = useState(true);
  const pinned = useRef(isPinned);
  pinned.current = isPinned;
  useEffect(() => {
    setPinned(begin.kind === "newest");
    events.open(begin, true);
    const look = () => (document.hidden ? events.close() : events.wake(pinned.current));
    if (document.hidden) look();
    document.addEventListener("visibilitychange", look);
    const unwatch = connection.watch(() => !connection.get().isAway && events.mayGoOn && events.wake(pinned.current));
    return () => {
      document.removeEventListener("visibilitychange", look);
      unwatch();
      events.close();
    };
  }, [events]);
  const jump = (/** @type {Place} */ where) => {
    setPinned(where.kind === "newest");
    events.open(where, events.isFollowing || where.kind === "newest");
  };
  const shown = useMemo(() => matching(events.rows, text), [events.rows, text]);
  return html`<div>
    <${Bar} events=${events} isStream=${isStream} jump=${jump} text=${text} setText=${setText} shownCount=${shown.length} />
    <${Failure} error=${events.state === "away" && events.isFollowing ? null : events.error} again=${() => events.wake(isPinned)} />
    ${events.isReplaced && html`<${Empty} title="The log was replaced"><p>It was restored to an earlier state: what was shown is not in it any longer.</p><button type="button" onClick=${() => jump({ kind: "newest" })}>Read it again</button><//>`}
    ${!events.rows.length && !events.isLoading && !events.error ? empty : html`<${Rows} events=${events} rows=${shown} isPinned=${isPinned && !text} setPinned=${setPinned} jump=${jump} here=${here} place=${place} />`}
  </div>`;
}

/**
 * @param {Row[]} rows
 * @param {string} text
 */
function matching(rows, text) {
  const wanted = text.toLowerCase();
  return wanted ? rows.filter((row) => row.text.toLowerCase().includes(wanted)) : rows;
}

/** @param {{ events: EventWindow, isStream: boolean, jump: (place: Place) => void, text: string, setText: (text: string) => void, shownCount: number }} props */
function Bar({ events, isStream, jump, text, setText, shownCount }) {
  const isReading = events.isLoading && !events.rows.length;
  const state = isReading ? "Reading …" : !events.isFollowing ? "Paused" : events.isAtNewest ? STATES[events.state] : "Not at the newest event";
  const toggle = () => (events.isFollowing ? events.pause() : events.resume());
  const go = (/** @type {any} */ event) => {
    event.preventDefault();
    const { kind, value } = Object.fromEntries(new FormData(event.currentTarget));
    if (value) jump(/** @type {Place} */ ({ kind, value: kind === "time" ? new Date(String(value)).toISOString() : String(value).replace(/\D/g, "") }));
  };
  const [kind, setKind] = useState("position");
  return html`<div class="bar">
    <button type="button" class="second" aria-pressed=${events.isFollowing} onClick=${toggle} title="p">${events.isFollowing ? "Pause" : "Follow"}</button>
    <button type="button" class="second" onClick=${() => jump({ kind: "oldest" })} title="Home">Oldest</button>
    <button type="button" class="second" onClick=${() => jump({ kind: "newest" })} title="End">Newest</button>
    <form onSubmit=${go}>
      <select name="kind" aria-label="Go to a" value=${kind} onChange=${(/** @type {any} */ event) => setKind(event.target.value)}><option value="position">position</option>${isStream && html`<option value="revision">revision</option>`}<option value="time">time</option></select>
      <input name="value" aria-label=${`The ${kind} to go to`} key=${kind} type=${kind === "time" ? "datetime-local" : "text"} step="1" inputmode=${kind === "time" ? undefined : "numeric"} placeholder=${kind} />
      <button type="submit" class="second">Go</button>
    </form>
    <input type="search" aria-label="Show only events whose text contains" placeholder="text in what is shown" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} />
    <span role="status" class="state">${state}</span>
    <span class="faint">${isReading ? "" : text ? `${count(shownCount)} of ${counted(events.rows.length, "event")} here` : counted(events.rows.length, "event")}</span>
  </div>`;
}

/**
 * @param {{ events: EventWindow, rows: Row[], isPinned: boolean, setPinned: (is: boolean) => void, jump: (place: Place) => void, here: string[], place: Record<string, string> }} props
 */
function Rows({ events, rows, isPinned, setPinned, jump, here, place }) {
  const scroller = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [view, setView] = useState({ first: 0, count: 60 });
  const [focused, setFocused] = useState("");
  const top = useRef(events.top);
  const rem = useMemo(() => Number.parseFloat(getComputedStyle(document.documentElement).fontSize), []);
  const [isNarrow, setNarrow] = useState(false);
  const height = (isNarrow ? ROW_REM_NARROW : ROW_REM) * rem;
  const pinned = useRef(isPinned);
  pinned.current = isPinned;
  const mustFocus = useRef(false);
  const wanted = useRef("");
  const look = () => {
    const node = scroller.current;
    if (!node) return;
    const first = Math.max(0, Math.floor(node.scrollTop / height) - SPARE_ROWS);
    const many = Math.ceil(node.clientHeight / height) + 2 * SPARE_ROWS;
    // Where the newest is in sight it is known which rows are: to look there would be to draw all of them twice.
    setView((last) => (last.count === many && (pinned.current || last.first === first) ? last : { first, count: many }));
    if (node.scrollTop < 20 * height) events.older();
    if (node.scrollHeight - node.scrollTop - node.clientHeight < 20 * height) events.newer();
  };
  const scrolled = () => {
    const node = scroller.current;
    if (!node) return;
    pinned.current = node.scrollHeight - node.scrollTop - node.clientHeight < 2 * height;
    setPinned(pinned.current);
    look();
  };
  useLayoutEffect(() => {
    const node = scroller.current;
    if (!node) return;
    if (isPinned) node.scrollTop = node.scrollHeight;
    else if (events.top !== top.current) node.scrollTop -= (events.top - top.current) * height;
    top.current = events.top;
    look();
  }, [rows, height, isPinned]);
  useEffect(() => {
    const resized = new ResizeObserver(([entry]) => {
      setNarrow(entry.contentRect.width < NARROW_REM * rem);
      if (pinned.current && scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
      look();
    });
    if (scroller.current) resized.observe(scroller.current);
    return () => resized.disconnect();
  }, []);
  useEffect(() => {
    if (!mustFocus.current) return;
    /** @type {HTMLElement | null | undefined} */
    const node = scroller.current?.querySelector(`[data-position="${wanted.current}"]`);
    if (node) mustFocus.current = false;
    node?.focus();
  });
  const focusRow = (/** @type {number} */ index) => {
    const node = scroller.current;
    const row = rows[index];
    if (!node || !row) return;
    if (index * height < node.scrollTop) node.scrollTop = index * height;
    if ((index + 1) * height > node.scrollTop + node.clientHeight) node.scrollTop = (index + 1) * height - node.clientHeight;
    mustFocus.current = true;
    wanted.current = row.position;
    look();
    setFocused(row.position);
  };
  const pressed = (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    // What is pressed quickly goes on from where the focus is about to be.
    const from = mustFocus.current ? wanted.current : /** @type {HTMLElement} */ (event.target).dataset.position;
    const index = rows.findIndex((row) => row.position === from);
    if (by) focusRow(index < 0 ? (isPinned ? rows.length - 1 : view.first + SPARE_ROWS) : index + by);
    else if (event.key === "Home") jump({ kind: "oldest" });
    else if (event.key === "End") jump({ kind: "newest" });
    else if (event.key === "p") events.isFollowing ? events.pause() : events.resume();
    else return;
    event.preventDefault();
  };
  const first = isPinned ? Math.max(0, rows.length - view.count + SPARE_ROWS) : view.first;
  const inSight = rows.slice(first, first + view.count);
  const slotOf = useSlots(events.top + first, view.count);
  const held = useHeld();
  const opened = (/** @type {MouseEvent} */ event) => {
    if (!held.isOther()) return;
    event.preventDefault();
    go(to(here, { ...place, event: held.position() }));
  };
  const stop = inSight.some((row) => row.position === focused) ? focused : inSight.at(-1)?.position;
  return html`<div class=${isNarrow ? "window narrow" : "window"} ref=${scroller} onScroll=${scrolled} onKeyDown=${pressed} onFocusIn=${held.hold} onPointerDown=${held.hold} onClick=${opened}>
    <ul class="rows" aria-label="Events, the oldest first" style=${{ height: `${rows.length * height}px` }}>
      ${inSight.map((row, index) => html`<li key=${slotOf(index)} class="row" style=${{ transform: `translateY(${(first + index) * height}px)` }}><${Line} row=${row} address=${to(here, { ...place, event: row.position })} isOpen=${place.event === row.position} tabIndex=${row.position === stop ? 0 : -1} /></li>`)}
    </ul>
  </div>`;
}

/**
 * Which element a row in sight is shown by. Those of rows that leave are taken for rows that come: to make
 * new ones hundreds of times a second takes longer than to change texts. Where all are others, each stays
 * in its place.
 * @param {number} first the row that is the first in sight, counted from where the log was opened
 * @param {number} many
 */
function useSlots(first, many) {
  const last = useRef({ first, shift: first });
  if (Math.abs(first - last.current.first) >= many) last.current.shift += first - last.current.first;
  last.current.first = first;
  return (/** @type {number} */ index) => (first + index - last.current.shift) % many;
}

/**
 * The row that has the focus, or was pressed. Its element may be another row a moment later: that one
 * has not got the focus, and is not what is opened.
 */
function useHeld() {
  const held = useRef({ node: /** @type {HTMLElement | null} */ (null), position: "" });
  const position = () => held.current.position;
  const isOther = () => Boolean(held.current.node && held.current.node.dataset.position !== position());
  const hold = (/** @type {any} */ event) => {
    const node = event.target.closest("a");
    held.current = { node, position: node?.dataset.position ?? "" };
  };
  useLayoutEffect(() => {
    if (isOther() && held.current.node === document.activeElement) held.current.node?.blur();
  });
  return { hold, position, isOther };
}

/**
 * What a row shows: nothing is done for it when others come.
 * @extends {Component<{ row: Row, address: string, isOpen: boolean, tabIndex: number }>}
 */
class Line extends Component {
  /** @param {Line["props"]} next */
  shouldComponentUpdate(next) {
    const { row, address, isOpen, tabIndex } = this.props;
    return next.row !== row || next.address !== address || next.isOpen !== isOpen || next.tabIndex !== tabIndex;
  }

  render() {
    const { row, address, isOpen, tabIndex } = this.props;
    return html`<a href=${address} data-position=${row.position} tabindex=${tabIndex} aria-current=${isOpen ? "true" : undefined}>
  <span class="position">${count(row.position)}</span><time datetime=${row.at} title=${utcTime(row.at)}>${shortTime(row.at)}</time><span class="type">${row.type}</span><span class="stream">${row.stream}</span>${row.isGone ? html`<span class="gone">its payload is gone</span>` : html`<span class="gist">${row.gist}</span>`}
</a>`;
  }
}
