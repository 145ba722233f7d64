// Words of the contract as elements: paragraphs, lists and `code`, which is all that comments use.

import { element } from "./dom.js";

/** @import { Child } from "./dom.js" */

/** @param {string} text */
export function prose(text) {
  return text.split(/\n\s*\n/).filter(Boolean).map((block) => {
    const items = block.split(/\n(?=- )/);
    if (block.startsWith("- ")) return element("ul", {}, items.map((item) => element("li", {}, inline(item.slice(2)))));
    return element("p", {}, inline(block));
  });
}

/**
 * @param {string} text
 * @returns {Child[]}
 */
export function inline(text) {
  return text.split(/(`[^`]+`)/).map((part) =>
    part.startsWith("`") && part.length > 1 ? element("code", {}, part.slice(1, -1)) : part,
  );
}

/**
 * A table that becomes a list of blocks where there is no room for columns.
 * @param {string[]} columns
 * @param {Child[][][]} rows
 * @param {(row: number) => Record<string, string>} [attributes]
 */
export function table(columns, rows, attributes = () => ({})) {
  const cells = (/** @type {Child[][]} */ row) => row.map((cell, index) => element("td", { "data-column": columns[index] }, cell));
  return element("table", {}, [
    element("thead", {}, element("tr", {}, columns.map((column) => element("th", { scope: "col" }, column)))),
    element("tbody", {}, rows.map((row, index) => element("tr", attributes(index), cells(row)))),
  ]);
}

/**
 * Where a reason is explained.
 * @param {string} reason
 */
export function reasonLink(reason) {
  return element("a", { class: "reason", href: `/docs/errors#${reason}` }, reason);
}
