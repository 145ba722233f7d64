// How the read models stand, with their lag plotted.

import { get } from "../calls/api.js";
import { Badge, Empty, Head } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { useHistory } from "../parts/history.js";
import { html, useEffect } from "../parts/html.js";
import { useLoad } from "../parts/load.js";
import { to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { count, duration, enumWord } from "../parts/words.js";

/**
 * @typedef {{ projection: string, state: string, position: string, head: string, lagEvents: string, lagS: number, eventCount: string, movedAt?: string,
 *   problem: string, failedPosition: string, attemptCount: number, stopCause: string, stoppedAt?: string, quarantinedCount: string, poisonPolicy: string,
 *   replacedPolicy: string, definitionVersion: string, eventTypes: string[], incarnation: string,
 *   rebuild?: { cause: string, position: string, problem: string } }} Projection
 */

/** @param {{ state: string }} props */
export function State({ state }) {
  const kind = { STATE_RUNNING: "good", STATE_STOPPED: "bad", STATE_UNFIT: "bad", STATE_PAUSED: "warn" }[state] ?? "";
  return html`<${Badge} kind=${kind}>${enumWord(state, "STATE_")}<//>`;
}

/** @type {import("../parts/table.js").Column<Projection>[]} */
const COLUMNS = [
  { title: "Projection", cell: ({ projection }) => html`<a href=${to(["projections", projection])}>${projection}</a>` },
  { title: "State", cell: ({ state, rebuild }) => html`<${State} state=${state} />${rebuild && html` <${Badge} kind="warn">being built anew<//>`}` },
  { title: "Behind", isNumber: true, cell: ({ lagEvents }) => count(lagEvents) },
  { title: "For", isNumber: true, cell: ({ lagS }) => (lagS ? duration(1000 * lagS) : "") },
  { title: "Applied", isNumber: true, cell: ({ eventCount }) => count(eventCount) },
  { title: "In quarantine", isNumber: true, cell: ({ quarantinedCount }) => count(quarantinedCount) },
  { title: "Problem", cell: ({ problem }) => problem },
];

export function Page() {
  const { data, error, reload } = useLoad(async (signal) => (await get("/v1/projections", {}, signal)).projections, [], { everyMs: 2000 });
  const [history, note] = useHistory();
  useEffect(() => {
    if (data) note(Object.fromEntries(data.map((/** @type {Projection} */ one) => [one.projection, Number(one.lagEvents)])));
  }, [data]);
  const empty = html`<${Empty} title="This server has no projections"><p>They are kept by a process of their own: <code>girih up</code> starts it.</p><//>`;
  return html`<${Head} title="Projections" lead="Read models that are kept by the log, and how far behind it they are." />
    <${Table} label="Projections" columns=${COLUMNS} keyOf=${(/** @type {Projection} */ one) => one.projection} items=${data} error=${error} reload=${reload} empty=${empty} />
    ${history.times.length > 0 && html`<${Chart} label="How far each is behind" unit="events" times=${history.times} lines=${Object.keys(history.values).map((name) => ({ label: name, values: history.values[name] }))} />`}`;
}
