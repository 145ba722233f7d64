// What happened to a lattice: each change with who made it, a field at any revision, and whether all
// of it can be made again from events alone.

import { get, stream } from "../calls/api.js";
import { Badge, Empty, Failure, Head, Time } from "../parts/basics.js";
import { Select } from "../parts/forms.js";
import { html, useMemo, useState } from "../parts/html.js";
import { Tree } from "../parts/json.js";
import { useAction, useLoad, usePages } from "../parts/load.js";
import { to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { count, counted, enumWord } from "../parts/words.js";
import { Board } from "./board.js";
import { drawSlice, findLattice } from "./calls.js";

/** @import { Lattice } from "../calls/types.js" */
/**
 * @typedef {{ revision: string, kind: string, name: string, recordedAt: string, actor: string, correlationId: string, digest: string,
 *   ofRevision: string, applied?: { transforms: object[] } }} Change
 */

const PAGE_SIZE = 200;
const DRAWN_MAX = 2048;

/** @param {{ latticeId: string }} props */
export function Page({ latticeId }) {
  const lattice = useLoad((signal) => findLattice(latticeId, signal), [latticeId]);
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { changes, nextPageToken } = await get(`/v1/lattices/${encodeURIComponent(latticeId)}/history`, { pageSize: PAGE_SIZE, pageToken }, signal);
    return { items: /** @type {Change[]} */ (changes), next: nextPageToken };
  };
  const pages = usePages(find, [latticeId]);
  return html`<${Head} title="History" lead=${html`What happened to <a href=${to(["lattices", latticeId])}>this lattice</a>, the oldest first.`}><${Verify} latticeId=${latticeId} /><//>
    ${lattice.data && pages.items && html`<${Slider} lattice=${lattice.data} changes=${pages.items} />`}
    <${Table} label="Changes" columns=${COLUMNS} keyOf=${(/** @type {Change} */ one) => `${one.revision} ${one.name}`} ...${pages} empty=${html`<${Empty} title="Nothing has happened since it was created"><p>Fields that are written, transforms and simulations are told here.</p><//>`} />`;
}

/** @type {import("../parts/table.js").Column<Change>[]} */
const COLUMNS = [
  { title: "Revision", isNumber: true, cell: ({ revision }) => count(revision) },
  { title: "What", cell: ({ kind, ofRevision }) => html`<b class="whole">${enumWord(kind, "CHANGE_KIND_")}</b>${ofRevision !== "0" && ` of revision ${count(ofRevision)}`}` },
  { title: "Field", cell: ({ name }) => name || "the\u00a0lattice" },
  { title: "When", cell: ({ recordedAt }) => html`<${Time} at=${recordedAt} />` },
  { title: "By", cell: ({ actor }) => actor },
  { title: "Request", cell: ({ correlationId }) => correlationId && html`<a href=${to(["traces", correlationId])}>its${"\u00a0"}trace</a>` },
  { title: "Steps", cell: ({ applied }) => applied && html`<${Tree} value=${applied.transforms} depth=${2} />` },
];

/** A field, or the blocked sites, at each revision that changed them. @param {{ lattice: Lattice, changes: Change[] }} props */
function Slider({ lattice, changes }) {
  const names = useMemo(() => [...new Set(changes.map(({ name }) => name).filter(Boolean))], [changes]);
  const [chosen, setField] = useState(/** @type {string | null} */ (null));
  const field = chosen !== null && (chosen === "" || names.includes(chosen)) ? chosen : (names[0] ?? "");
  const revisions = changes.filter(({ name, kind }) => name === field && kind !== "CHANGE_KIND_DELETED").map(({ revision }) => revision);
  const [index, setIndex] = useState(Number.MAX_SAFE_INTEGER);
  const at = Math.min(index, revisions.length - 1);
  const shape = lattice.shape.map(Number);
  const [rows, columns] = [shape.at(-2) ?? 1, shape[shape.length - 1]];
  const slice = { rowAxis: shape.length > 1 ? shape.length - 2 : null, columnAxis: shape.length - 1, at: shape.map(() => 0) };
  const area = { row: 0, column: 0, rows: Math.min(rows, DRAWN_MAX), columns: Math.min(columns, DRAWN_MAX) };
  const drawn = useLoad(async (signal) => (at >= 0 ? drawSlice(lattice.latticeId, slice, area, { field, colorMap: "COLOR_MAP_VIRIDIS", atRevision: revisions[at] }, signal) : null), [lattice.latticeId, field, revisions[at]]);
  if (!revisions.length) return null;
  return html`<div class="columns">
      <${Select} label="Show" of=${[...names.map((name) => [name, `the field ${name}`]), ["", "free and blocked sites"]]} value=${field} onChange=${(/** @type {any} */ event) => setField(event.target.value)} />
      <label class="field"><span>Through time: revision ${count(revisions[at])}</span><input type="range" min="0" max=${revisions.length - 1} value=${at} onInput=${(/** @type {any} */ event) => setIndex(Number(event.target.value))} /></label>
    </div>
    <${Failure} error=${drawn.error} again=${drawn.reload} />
    <${Board} rows=${rows} columns=${columns} layers=${drawn.data ? [drawn.data] : []} isPanning=${true} label=${`${field || "The blocked sites"} at revision ${revisions[at]}`} />`;
}

/** @param {{ latticeId: string }} props */
function Verify({ latticeId }) {
  const [counts, setCounts] = useState(/** @type {Record<string, number>} */ ({}));
  const action = useAction(async () => {
    /** @type {Record<string, number>} */
    const outcomes = {};
    for await (const { text } of stream("GET", `/v1/lattices/${encodeURIComponent(latticeId)}:verify`)) {
      const { event } = JSON.parse(text);
      if (event) outcomes[event.outcome] = (outcomes[event.outcome] ?? 0) + 1;
    }
    setCounts(outcomes);
    return outcomes;
  });
  const isBad = (/** @type {string} */ outcome) => outcome.endsWith("DIFFERENT") || outcome.endsWith("DAMAGED");
  return html`<div>
    <button type="button" class="second" disabled=${action.isRunning} onClick=${() => action.run()}>${action.isRunning ? "Verifying …" : "Verify from its events"}</button>
    <${Failure} error=${action.error} />
    <span role="status">${action.outcome && (Object.keys(counts).length ? Object.entries(counts).map(([outcome, many]) => html` <${Badge} kind=${isBad(outcome) ? "bad" : "good"}>${counted(many, "event")} ${enumWord(outcome, "VERIFIED_OUTCOME_")}<//>`) : " There is nothing to verify.")}</span>
  </div>`;
}
