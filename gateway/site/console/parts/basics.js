// Small things that every page has: times, links, failures, buttons that copy, and empty states.

import { copyText } from "../../shared/copying.js";
import { wordsIn } from "../../shared/naming.js";
import { CallFailed } from "../calls/api.js";
import { html, useEffect, useState } from "./html.js";
import { localTime, utcTime } from "./words.js";

/** @import { Children } from "./html.js" */

/**
 * A time in the reader's zone; with `full`, that of UTC stands beside, and otherwise in the title.
 * @param {{ at?: string | number, full?: boolean }} props
 */
export function Time({ at, full = false }) {
  if (!at) return html`<span class="faint">never</span>`;
  const stamp = new Date(at).toISOString();
  return html`<time datetime=${stamp} title=${utcTime(at)}>${localTime(at)}${full && html` <span class="faint">${utcTime(at)}</span>`}</time>`;
}

/**
 * @param {{ text: string, label?: string, children?: Children }} props
 */
export function Copy({ text, label = "Copy", children }) {
  const [isDone, setDone] = useState(false);
  useEffect(() => {
    if (!isDone) return;
    const timer = setTimeout(() => setDone(false), 2000);
    return () => clearTimeout(timer);
  }, [isDone]);
  const copy = async () => ((await copyText(text)) ? setDone(true) : prompt("Copy this", text));
  return html`<button type="button" class="quiet small" onClick=${copy} aria-label=${isDone ? "Copied" : label}>${isDone ? "Copied ✓" : (children ?? label)}</button>`;
}

/**
 * What went wrong, for whom it may be passed on to, and a way to try again.
 * @param {{ error: unknown, again?: () => void }} props
 */
export function Failure({ error, again }) {
  if (!error) return null;
  const isCall = error instanceof CallFailed;
  const violations = isCall ? (error.details.violations ?? []) : [];
  return html`<div class="failure" role="alert">
    <p><b>${error instanceof Error ? error.message : String(error)}</b></p>
    ${violations.length > 0 && html`<ul>${violations.map(({ field, description }) => html`<li><code>${field}</code> ${description}</li>`)}</ul>`}
    ${isCall && html`<p class="faint line"><span>${error.reason}</span>
      ${error.correlationId && html`<span>correlation id <code>${error.correlationId}</code></span><${Copy} text=${error.correlationId} label="Copy the correlation id">Copy<//>`}</p>`}
    ${again && html`<button type="button" class="second" onClick=${again}>Try again</button>`}
  </div>`;
}

/**
 * Nothing is there: what that means, and what to do.
 * @param {{ title: string, children?: Children }} props
 */
export const Empty = ({ title, children }) => html`<div class="empty"><p><b>${title}</b></p>${children}</div>`;

/** @param {{ what?: string }} props */
export const Loading = ({ what = "Loading" }) => html`<p class="loading" role="status">${what} …</p>`;

/**
 * The title of a page, and what may be done there.
 * @param {{ title: Children, children?: Children, lead?: Children }} props
 */
export const Head = ({ title, lead, children }) => html`<div class="head"><div><h1>${title}</h1>${lead && html`<p class="lead">${lead}</p>`}</div>${children && html`<div class="actions">${children}</div>`}</div>`;

/**
 * Names and values.
 * @param {{ of: [name: string, value: Children][] }} props
 */
export const Facts = ({ of }) => html`<dl class="facts">${of.filter(([, value]) => value !== undefined && value !== "").map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

/**
 * A name that goes on in the next line where one of its words ends.
 * @param {{ of: string }} props
 */
export const Name = ({ of }) => wordsIn(of).map((word, index) => html`${index > 0 && html`<wbr />`}${word}`);

/** @param {{ kind: string, children?: Children }} props */
export const Badge = ({ kind, children }) => html`<span class=${`badge ${kind}`}>${children}</span>`;
