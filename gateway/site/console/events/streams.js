// Which streams there are: all, those of a category, or those whose name begins somehow.

import { get } from "../calls/api.js";
import { Badge, Empty, Head, Time } from "../parts/basics.js";
import { Input } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { useLoad, usePages } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { count, enumWord } from "../parts/words.js";

/** @import { StreamInfo } from "../calls/types.js" */

const PAGE_SIZE = 100;

/** @type {import("../parts/table.js").Column<StreamInfo>[]} */
const COLUMNS = [
  { title: "Stream", cell: ({ stream }) => html`<a href=${to(["streams", stream])}>${stream}</a>` },
  { title: "Events", isNumber: true, cell: ({ eventCount }) => count(eventCount) },
  { title: "Last revision", isNumber: true, cell: ({ lastRevision }) => count(lastRevision) },
  { title: "First event", cell: ({ createdAt }) => html`<${Time} at=${createdAt} />` },
  { title: "Last event", cell: ({ updatedAt }) => html`<${Time} at=${updatedAt} />` },
  { title: "", cell: ({ ending }) => ended(ending) },
];

/** @param {string | undefined} ending */
export const ended = (ending) => {
  const word = enumWord(ending, "STREAM_ENDING_");
  return word && html`<${Badge} kind="warn">${word}<//>`;
};

/** @param {{ query: Record<string, string> }} props */
export function Page({ query: { prefix = "", category = "" } }) {
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { streams, nextPageToken } = await get("/v1/streams", { prefix, category, pageSize: PAGE_SIZE, pageToken }, signal);
    return { items: streams, next: nextPageToken };
  };
  const pages = usePages(find, [prefix, category]);
  const isSearched = Boolean(prefix || category);
  const empty = isSearched
    ? html`<${Empty} title="No stream is called so"><p>Names are searched from their beginning. <a href="#/streams">Show all streams</a></p><//>`
    : html`<${Empty} title="There are no streams yet"><p>A stream is there with its first event.</p><//>`;
  return html`<${Head} title="Streams" lead="Each is one history: a permit, an order, a lattice. Those that begin with $ are girih's own." />
    <${Search} prefix=${prefix} category=${category} />
    <${Table} label="Streams" columns=${COLUMNS} keyOf=${(/** @type {StreamInfo} */ one) => one.stream} ...${pages} empty=${empty} />`;
}

/** @param {{ prefix: string, category: string }} props */
function Search({ prefix, category }) {
  const { data } = useLoad((signal) => get("/v1/categories", { pageSize: 100 }, signal), []);
  const submit = (/** @type {any} */ event) => {
    event.preventDefault();
    const values = Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, String(value).trim()]));
    go(to(["streams"], values));
  };
  return html`<form onSubmit=${submit} key=${`${prefix} ${category}`}>
    <div class="filters">
      <${Input} name="prefix" label="Name begins with" type="search" value=${prefix} placeholder="permit-" />
      <${Input} name="category" label="Category" value=${category} list="categories" placeholder="permit" />
    </div>
    <datalist id="categories">${data?.categories.map((/** @type {any} */ one) => html`<option value=${one.category}>${count(one.streamCount)} streams</option>`)}</datalist>
    <div class="actions"><button type="submit">Search</button></div>
  </form>`;
}
