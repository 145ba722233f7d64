// Lists as tables: on narrow screens each row stands by itself, its values under their names.

import { Failure, Loading } from "./basics.js";
import { html } from "./html.js";

/** @import { Children } from "./html.js" */
/**
 * @template T
 * @typedef {{ title: string, cell: (item: T) => Children, isNumber?: boolean }} Column
 */

/**
 * @template T
 * @param {{ label: string, columns: Column<T>[], items?: T[], error?: unknown, empty?: Children, isLoading?: boolean,
 *   hasMore?: boolean, loadMore?: () => void, reload?: () => void, keyOf: (item: T) => string }} props
 */
export function Table({ label, columns, items, error, empty, isLoading = false, hasMore = false, loadMore, reload, keyOf }) {
  if (!items) return error ? html`<${Failure} error=${error} again=${reload} />` : html`<${Loading} />`;
  return html`<div class="listed">
    <${Failure} error=${error} again=${reload} />
    ${items.length === 0 ? empty : html`<table aria-label=${label}>
      <thead><tr>${columns.map((column) => html`<th scope="col" class=${column.isNumber ? "number" : ""}>${column.title}</th>`)}</tr></thead>
      <tbody>${items.map((item) => html`<tr key=${keyOf(item)}>${columns.map((column) => html`<td data-title=${column.title} class=${column.isNumber ? "number" : ""}><div>${column.cell(item)}</div></td>`)}</tr>`)}</tbody>
    </table>`}
    ${hasMore && html`<button type="button" class="second" disabled=${isLoading} onClick=${loadMore}>${isLoading ? "Loading …" : "Show more"}</button>`}
  </div>`;
}
