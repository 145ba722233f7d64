// Which consumer groups there are, how far they are, and the way to make one.

import { get, post } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Badge, Empty, Head } from "../parts/basics.js";
import { Form, Input, listOf, Select } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { usePages } from "../parts/load.js";
import { to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { count } from "../parts/words.js";

/** @typedef {{ group: string, laneCount: number, consumerCount: number, position: string, heldCount: string, parkedCount: string }} Group */

/** @type {import("../parts/table.js").Column<Group>[]} */
const COLUMNS = [
  { title: "Group", cell: ({ group }) => html`<a href=${to(["groups", group])}>${group}</a>` },
  { title: "Consumers", isNumber: true, cell: ({ consumerCount }) => count(consumerCount) },
  { title: "Lanes", isNumber: true, cell: ({ laneCount }) => count(laneCount) },
  { title: "Position", isNumber: true, cell: ({ position }) => count(position) },
  { title: "Waiting apart", isNumber: true, cell: ({ heldCount }) => count(heldCount) },
  { title: "Parked", cell: ({ parkedCount }) => (Number(parkedCount) ? html`<${Badge} kind="bad">${count(parkedCount)} parked<//>` : "none") },
];

export function Page() {
  const may = useMay();
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { groups, nextPageToken } = await get("/v1/groups", { pageToken }, signal);
    return { items: groups, next: nextPageToken };
  };
  const pages = usePages(find, []);
  const empty = html`<${Empty} title="There are no consumer groups"><p>A group shares the events of the log among several workers, each stream in its order.${may("groups.write") ? " Make one below, and consume it with the client." : ""}</p><//>`;
  return html`<${Head} title="Consumer groups" lead="Who shares the work that events make, and how far they are." />
    <${Table} label="Consumer groups" columns=${COLUMNS} keyOf=${(/** @type {Group} */ one) => one.group} ...${pages} empty=${empty} />
    ${may("groups.write") && html`<h2>Make a group</h2><${Create} reload=${pages.reload} />`}`;
}

/** @param {{ reload: () => void }} props */
function Create({ reload }) {
  const act = async (/** @type {Record<string, string>} */ { group, laneCount, attempts, types, category, begin }) => {
    const query = { ...(types ? { types: listOf(types) } : {}), ...(category ? { category } : {}) };
    const settings = { laneCount: Number(laneCount), attemptCountMax: Number(attempts), ...(Object.keys(query).length ? { filter: { queries: [query] } } : {}) };
    await post("/v1/groups", { group: group.trim(), settings, ...(begin === "oldest" ? { start: { position: "1" } } : {}) });
    reload();
    return group.trim();
  };
  return html`<${Form} label="Make" act=${act} done=${(/** @type {string} */ group) => html`Made. <a href=${to(["groups", group])}>Look at it</a>`}>
    <div class="columns"><${Input} name="group" label="Name" required=${true} placeholder="mailer" /><${Input} name="laneCount" label="Lanes" type="number" min="1" max="256" value="4" hint="So many consumers can work at once." /><${Input} name="attempts" label="Attempts" type="number" min="0" max="1000" value="5" hint="Then an event is parked. 0: never." /></div>
    <div class="columns"><${Input} name="types" label="Only these types" placeholder="all" /><${Input} name="category" label="Only this category" placeholder="all" /><${Select} name="begin" label="Begins" of=${[["newest", "from now on"], ["oldest", "from the first event"]]} /></div>
  <//>`;
}
