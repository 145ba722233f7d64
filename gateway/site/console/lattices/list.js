// Which lattices there are.

import { get } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Empty, Head, Time } from "../parts/basics.js";
import { html } from "../parts/html.js";
import { usePages } from "../parts/load.js";
import { to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { bytes, count, enumWord, shapeText } from "../parts/words.js";

/** @import { Lattice } from "../calls/types.js" */

/** @type {import("../parts/table.js").Column<Lattice>[]} */
const COLUMNS = [
  { title: "Lattice", cell: ({ latticeId, shape }) => html`<a href=${to(["lattices", latticeId])}>${shapeText(shape)}</a>` },
  { title: "Sites", isNumber: true, cell: ({ vertices }) => count(vertices) },
  { title: "Blocked", isNumber: true, cell: ({ blockedSites }) => count(blockedSites) },
  { title: "Neighbours", cell: ({ neighbourhood }) => enumWord(neighbourhood, "NEIGHBOURHOOD_") },
  { title: "Edges of it", cell: ({ boundaries }) => boundaryText(boundaries) },
  { title: "Held", isNumber: true, cell: ({ bytesHeld }) => bytes(bytesHeld) },
  { title: "Created", cell: ({ createdAt }) => html`<${Time} at=${createdAt} />` },
];

/** @param {string[]} boundaries */
export function boundaryText(boundaries) {
  const words = boundaries.map((one) => enumWord(one, "BOUNDARY_") || "open");
  return new Set(words).size === 1 ? words[0] : words.join(", ");
}

export function Page() {
  const may = useMay();
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { lattices, nextPageToken } = await get("/v1/lattices", { pageToken }, signal);
    return { items: lattices, next: nextPageToken };
  };
  const pages = usePages(find, []);
  const button = may("lattices.write") && html`<a class="button" href="#/new-lattice">New lattice</a>`;
  const empty = html`<${Empty} title="There are no lattices yet"><p>A lattice is a grid of sites with any number of axes: draw one, block some sites, and find a path on it.</p>${button && html`<p>${button}</p>`}<//>`;
  return html`<${Head} title="Lattices" lead="Grids to find paths on, to measure, and to keep numbers in.">${button}<//>
    <${Table} label="Lattices" columns=${COLUMNS} keyOf=${(/** @type {Lattice} */ one) => one.latticeId} ...${pages} empty=${empty} />`;
}
