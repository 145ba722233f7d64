// The little of the DOM that the page needs: to find, make and replace elements.

import { wordsIn } from "../shared/naming.js";

/** @typedef {Node | string} Child */
/** @typedef {Child | readonly Child[]} Children */

/**
 * The element of an id, which docs.html has; throws when it is of another kind.
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @param {new () => E} [kind]
 * @returns {E}
 */
export function byId(id, kind) {
  const node = document.getElementById(id);
  if (!(node instanceof (kind ?? HTMLElement))) throw new Error(`there is no such element: ${id}`);
  return /** @type {E} */ (node);
}

/**
 * The first element that matches; throws when there is none.
 * @template {HTMLElement} [E=HTMLElement]
 * @param {ParentNode} parent
 * @param {string} selector
 * @returns {E}
 */
export function first(parent, selector) {
  const node = parent.querySelector(selector);
  if (!node) throw new Error(`there is no such element: ${selector}`);
  return /** @type {E} */ (node);
}

/**
 * @param {Element} parent
 * @param {Children} children
 */
export function replace(parent, children) {
  parent.replaceChildren(...[children].flat());
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, string | number>} attributes
 * @param {Children} [children]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(name, attributes, children = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...[children].flat());
  return made;
}

/**
 * A name as text that may go on in the next line where one of its words ends, and nowhere else.
 * @param {string} name
 * @returns {Child[]}
 */
export function inWords(name) {
  return wordsIn(name).flatMap((word, index) => (index ? [element("wbr", {}), word] : [word]));
}

/**
 * What a caught value says.
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
