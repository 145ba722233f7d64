// One consumer group: its lanes and their lag, who consumes, and what is parked.

import { call, get, post } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Badge, Empty, Facts, Failure, Head, Loading, Time } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { Confirmed } from "../parts/dialogs.js";
import { useHistory } from "../parts/history.js";
import { html, useEffect } from "../parts/html.js";
import { useLoad, usePages } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { count, duration, enumWord } from "../parts/words.js";

/** @typedef {{ lane: number, consumer: string, position: string, lagCount: string, lag: string, heldCount: string, parkedCount: string }} Lane */
/** @typedef {{ consumer: string, name: string, actor: string, joinedAt: string, laneCount: number }} Consumer */
/** @typedef {{ position: string, key: string, reason: string, attemptCount: number, parkedAt: string, waitingCount: string }} Parked */

/** @param {{ group: string }} props */
export function Page({ group }) {
  const may = useMay();
  const path = `/v1/groups/${encodeURIComponent(group)}`;
  const { data, error, reload } = useLoad((signal) => get(path, {}, signal), [path], { everyMs: 2000 });
  const [history, note] = useHistory();
  useEffect(() => {
    if (data) note({ lag: Math.max(...data.lanes.map((/** @type {Lane} */ lane) => Number(lane.lagCount))), held: sum(data.lanes, "heldCount"), parked: sum(data.lanes, "parkedCount") });
  }, [data]);
  if (!data) return error ? html`<${Failure} error=${error} again=${reload} />` : html`<${Loading} />`;
  const line = (/** @type {string} */ name, /** @type {string} */ label) => ({ label, values: history.values[name] ?? [] });
  return html`<${Head} title=${group} lead="Consumer group">${may("groups.write") && html`<${Changes} group=${group} path=${path} reload=${reload} />`}<//>
    <${Failure} error=${error} again=${reload} />
    <${Facts} of=${facts(data)} />
    ${history.times.length > 0 && html`<${Chart} label="How far the last lane is behind, and what waits apart" unit="events" times=${history.times} lines=${[line("lag", "behind"), line("held", "waiting apart"), line("parked", "parked")]} />`}
    <h2>Lanes</h2><${Table} label="Lanes" keyOf=${(/** @type {Lane} */ one) => String(one.lane)} columns=${laneColumns(data.consumers)} items=${data.lanes} />
    <h2>Consumers</h2><${Table} label="Consumers" keyOf=${(/** @type {Consumer} */ one) => one.consumer} columns=${CONSUMERS} items=${data.consumers} empty=${html`<${Empty} title="Nobody consumes"><p>Events wait until a consumer comes: <code>girih.consume("${group}")</code> in Python.</p><//>`} />
    <${ParkedEvents} path=${path} mayChange=${may("groups.write")} changed=${reload} />`;
}

/** @param {Lane[]} lanes @param {"heldCount" | "parkedCount"} name */
const sum = (lanes, name) => lanes.reduce((total, lane) => total + Number(lane[name]), 0);

/** @param {import("../calls/types.js").FilterQuery} query */
const wanted = ({ types = [], tags = [], category, streamPrefix, correlationId }) =>
  [
    types.length && `of type ${types.join(" or ")}`,
    tags.length && `tagged ${tags.join(" and ")}`,
    category && `in the category ${category}`,
    streamPrefix && `in a stream that begins with ${streamPrefix}`,
    correlationId && `of the request ${correlationId}`,
  ].filter(Boolean).join(", ") || "all events";

/** @param {any} data */
const facts = ({ settings, headPosition, createdAt }) => [
  ["Head of the log", count(headPosition)],
  ["Keeps in order", settings.keyTagPrefix ? html`by tags that begin with <code>${settings.keyTagPrefix}</code>` : "by stream"],
  ["Wants", settings.filter ? settings.filter.queries.map(wanted).join("; or ") : "all events"],
  ["Parks after", settings.attemptCountMax ? `${count(settings.attemptCountMax)} attempts, then the others of the key ${enumWord(settings.parking, "PARKING_POLICY_") === "pass" ? "pass" : "wait"}` : "never"],
  ["Made", html`<${Time} at=${createdAt} full=${true} />`],
];

/**
 * @param {Consumer[]} consumers
 * @returns {import("../parts/table.js").Column<Lane>[]}
 */
const laneColumns = (consumers) => [
  { title: "Lane", isNumber: true, cell: ({ lane }) => lane },
  { title: "Consumer", cell: ({ consumer }) => consumers.find((one) => one.consumer === consumer)?.name || consumer || html`<${Badge} kind="warn">nobody<//>` },
  { title: "Position", isNumber: true, cell: ({ position }) => count(position) },
  { title: "Behind", isNumber: true, cell: ({ lagCount }) => count(lagCount) },
  { title: "For", isNumber: true, cell: ({ lag }) => (Number.parseFloat(lag) ? duration(1000 * Number.parseFloat(lag)) : "") },
  { title: "Waiting apart", isNumber: true, cell: ({ heldCount }) => count(heldCount) },
  { title: "Parked", isNumber: true, cell: ({ parkedCount }) => count(parkedCount) },
];

/** @type {import("../parts/table.js").Column<Consumer>[]} */
const CONSUMERS = [
  { title: "Name", cell: ({ name, consumer }) => name || consumer },
  { title: "Who", cell: ({ actor }) => actor },
  { title: "Lanes", isNumber: true, cell: ({ laneCount }) => count(laneCount) },
  { title: "Since", cell: ({ joinedAt }) => html`<${Time} at=${joinedAt} />` },
];

/** @param {{ group: string, path: string, reload: () => void }} props */
const Changes = ({ group, path, reload }) => html`
  <${Confirmed} label="Begin again" title=${`Have ${group} begin again`} typed=${group} done=${reload} act=${() => post(`${path}:reset`, { start: { position: "1" } })} question=${html`<p>Every event from the first one on is handled again, and what is parked is forgotten.</p>`} />
  <${Confirmed} label="Delete" title=${`Delete ${group}`} typed=${group} done=${() => go("#/groups")} act=${() => call("DELETE", path)} question=${html`<p>Its consumers end, and where it was is forgotten. Events stay.</p>`} />`;

/** @param {{ path: string, mayChange: boolean, changed: () => void }} props */
function ParkedEvents({ path, mayChange, changed }) {
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { events, nextPageToken } = await get(`${path}/parked`, { pageToken }, signal);
    return { items: /** @type {Parked[]} */ (events), next: nextPageToken };
  };
  const pages = usePages(find, [path]);
  const done = () => {
    pages.reload();
    changed();
  };
  const of = (/** @type {Parked[]} */ events) => ({ positions: events.map((one) => one.position) });
  /** @type {import("../parts/table.js").Column<Parked>[]} */
  const columns = [
    { title: "Event", cell: ({ position }) => html`<a href=${to(["events", position])}>${count(position)}</a>` },
    { title: "Key", cell: ({ key }) => key },
    { title: "Why", cell: ({ reason }) => reason },
    { title: "Attempts", isNumber: true, cell: ({ attemptCount }) => count(attemptCount) },
    { title: "Parked", cell: ({ parkedAt }) => html`<${Time} at=${parkedAt} />` },
    { title: "Behind it", isNumber: true, cell: ({ waitingCount }) => count(waitingCount) },
    ...(mayChange ? [{ title: "", cell: (/** @type {Parked} */ one) => html`<div class="actions"><${Confirmed} label="Replay" isDanger=${false} title=${`Replay event ${one.position}`} question=${html`<p>It is handed to a consumer again, as if it came now.</p>`} act=${() => post(`${path}/parked:replay`, of([one]))} done=${done} /><${Confirmed} label="Discard" title=${`Discard event ${one.position}`} question=${html`<p>This group never handles it. The event stays in the log.</p>`} act=${() => post(`${path}/parked:discard`, of([one]))} done=${done} /></div>` }] : []),
  ];
  const all = pages.items ?? [];
  return html`<h2>Parked events</h2>
    <${Table} label="Parked events" keyOf=${(/** @type {Parked} */ one) => one.position} columns=${columns} ...${pages} empty=${html`<${Empty} title="Nothing is parked"><p>An event that failed too often is put here, so that the others go on.</p><//>`} />
    ${mayChange && all.length > 1 && html`<div class="actions"><${Confirmed} label="Replay all shown" isDanger=${false} title="Replay all that are shown" question=${html`<p>${count(all.length)} events are handed to consumers again.</p>`} act=${() => post(`${path}/parked:replay`, of(all))} done=${done} /></div>`}`;
}
