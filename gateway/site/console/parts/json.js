// JSON as a tree that opens and closes. Numbers are shown as they were written: those that a
// JavaScript number would round keep their digits.

import { html, useState } from "./html.js";

const OPEN_DEPTH = 2;
const ITEMS_MAX = 100;

/** A number whose digits no JavaScript number has. */
class Digits {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }

  toJSON() {
    const { rawJSON } = /** @type {{ rawJSON?: (text: string) => unknown }} */ (/** @type {unknown} */ (JSON));
    return rawJSON ? rawJSON(this.text) : Number(this.text);
  }
}

/**
 * @param {string} text
 * @returns {unknown}
 */
export function exactly(text) {
  // Browsers that do not tell the source of a number round it.
  const digits = (/** @type {string} */ _name, /** @type {unknown} */ value, /** @type {{ source?: string }} */ context) => {
    const isRounded = typeof value === "number" && context?.source && String(value) !== context.source;
    return isRounded ? new Digits(String(context.source)) : value;
  };
  return JSON.parse(text, /** @type {any} */ (digits));
}

/** @param {{ value: unknown, name?: string, depth?: number }} props */
export function Tree({ value, name = "", depth = 0 }) {
  const isBranch = typeof value === "object" && value !== null && !(value instanceof Digits);
  return isBranch ? html`<${Branch} value=${value} name=${name} depth=${depth} />` : html`<div class="leaf">${named(name)}<${Leaf} value=${value} /></div>`;
}

/** @param {{ value: object, name: string, depth: number }} props */
function Branch({ value, name, depth }) {
  const [isOpen, setOpen] = useState(depth < OPEN_DEPTH);
  const [shownMax, setShownMax] = useState(ITEMS_MAX);
  const items = Object.entries(value);
  const size = Array.isArray(value) ? `[${items.length}]` : `{${items.length}}`;
  return html`<details class="branch" open=${isOpen} onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}>
    <summary>${named(name)}<span class="faint">${size}</span></summary>
    ${isOpen && items.slice(0, shownMax).map(([key, item]) => html`<${Tree} key=${key} name=${key} value=${item} depth=${depth + 1} />`)}
    ${isOpen && items.length > shownMax && html`<button type="button" class="quiet small" onClick=${() => setShownMax(10 * shownMax)}>${items.length - shownMax} more</button>`}
  </details>`;
}

/** @param {{ value: unknown }} props */
function Leaf({ value }) {
  if (value instanceof Digits) return html`<span class="other">${value.text}</span>`;
  if (typeof value === "string") return html`<span class="string">${JSON.stringify(value)}</span>`;
  return html`<span class="other">${String(value)}</span>`;
}

/** @param {string} name */
const named = (name) => name !== "" && html`<span class="key">${name}</span>${": "}`;
