// How busy the processes of the server are, plotted while the page is open: calls a second, how long
// they take, and connections to PostgreSQL. For whom the operator lets see it.

import { get } from "../calls/api.js";
import { Badge, Failure, Time } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { useHistory } from "../parts/history.js";
import { html, useEffect, useRef } from "../parts/html.js";
import { useLoad } from "../parts/load.js";
import { Table } from "../parts/table.js";
import { count } from "../parts/words.js";

/** @import { History } from "../parts/history.js" */
/**
 * @typedef {{ withinS: number, callCount: string }} Bucket
 * @typedef {{ size: number, idle: number, waiting: number, sizeMax: number }} Pool
 * @typedef {{ softwareVersion: string, startedAt?: string, latencies: Bucket[], pool?: Pool }} Figures
 * @typedef {{ process: string, figures?: Figures }} Process
 */

const EVERY_MS = 2000;
const SLOW_SHARE = 0.95;

export function Processes() {
  const { data, error, reload } = useLoad(async (signal) => ({ at: performance.now(), processes: /** @type {Process[]} */ ((await get("/v1/figures", {}, signal)).processes) }), [], { everyMs: EVERY_MS });
  const last = useRef(/** @type {typeof data} */ (undefined));
  const [rates, noteRates] = useHistory();
  const [times, noteTimes] = useHistory();
  const [connections, noteConnections] = useHistory();
  useEffect(() => {
    if (!data) return;
    const pools = data.processes.flatMap(({ process, figures }) => (figures?.pool ? [poolOf(process, figures.pool)] : []));
    if (pools.length) noteConnections(Object.assign({}, ...pools));
    const before = last.current;
    last.current = data;
    if (!before) return;
    const changes = data.processes.map((one) => ({ process: one.process, calls: changeOf(before.processes.find(({ process }) => process === one.process)?.figures, one.figures) }));
    noteRates(Object.fromEntries(changes.map(({ process, calls }) => [process, calls && (1000 * (calls.at(-1)?.count ?? 0)) / (data.at - before.at)])));
    noteTimes(Object.fromEntries(changes.map(({ process, calls }) => [process, calls && slowMs(calls)])));
  }, [data]);
  return html`<h2>Processes</h2>
    <${Table} label="Processes" keyOf=${(/** @type {Process} */ one) => one.process} items=${data?.processes} error=${error} reload=${reload} columns=${COLUMNS} />
    ${error && data && html`<${Failure} error=${error} />`}
    <${Plotted} label="Calls answered, per second" unit="calls/s" history=${rates} />
    <${Plotted} label="How long 95 of 100 calls take at most" unit="ms" history=${times} />
    <${Plotted} label="Connections to PostgreSQL" unit="connections" history=${connections} />`;
}

/** @param {{ label: string, unit: string, history: History }} props */
const Plotted = ({ label, unit, history: { times, values } }) => times.length > 0 && html`<${Chart} label=${label} unit=${unit} times=${times} lines=${Object.keys(values).map((name) => ({ label: name, values: values[name] }))} />`;

/** @type {import("../parts/table.js").Column<Process>[]} */
const COLUMNS = [
  { title: "Process", cell: ({ process }) => html`<b>${process}</b>` },
  { title: "Version", cell: ({ figures }) => (figures ? figures.softwareVersion : html`<${Badge} kind="bad">does not answer<//>`) },
  { title: "Started", cell: ({ figures }) => figures && (figures.startedAt ? html`<${Time} at=${figures.startedAt} />` : "its metrics are off") },
  { title: "Calls since", isNumber: true, cell: ({ figures }) => count(figures?.latencies.at(-1)?.callCount) },
  { title: "Connections", isNumber: true, cell: ({ figures }) => figures?.pool && `${count(figures.pool.size - figures.pool.idle)} of ${count(figures.pool.sizeMax)} in use` },
  { title: "Waiting for one", isNumber: true, cell: ({ figures }) => figures?.pool && count(figures.pool.waiting) },
];

/**
 * @param {string} process
 * @param {Pool} pool
 * @returns {Record<string, number>}
 */
const poolOf = (process, { size, idle, waiting }) => ({ [`${process}, in use`]: size - idle, [`${process}, waited for`]: waiting });

/**
 * How many calls were answered between two looks, within each time; null where they are of two processes.
 * @param {Figures | undefined} before
 * @param {Figures | undefined} now
 */
function changeOf(before, now) {
  if (!before || !now?.latencies.length || before.startedAt !== now.startedAt) return null;
  const counts = new Map(before.latencies.map(({ withinS, callCount }) => [withinS, Number(callCount)]));
  return now.latencies.map(({ withinS, callCount }) => ({ withinS: withinS || Number.POSITIVE_INFINITY, count: Number(callCount) - (counts.get(withinS) ?? 0) }));
}

/**
 * Within which time most of them were answered: the bound of a bucket, so the least that is known.
 * @param {{ withinS: number, count: number }[]} calls
 */
function slowMs(calls) {
  const wanted = SLOW_SHARE * (calls.at(-1)?.count ?? 0);
  const bucket = wanted > 0 ? calls.find(({ count }) => count >= wanted) : undefined;
  // Of what took longer than the last bound no more is known.
  const known = bucket && Number.isFinite(bucket.withinS) ? bucket : bucket && calls.at(-2);
  return known ? 1000 * known.withinS : null;
}
