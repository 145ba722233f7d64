// How every part is, and how fast it answers, as measured from here while the page is open.

import { get } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { connection } from "../calls/connection.js";
import { Badge, Head, Loading } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { useHistory } from "../parts/history.js";
import { html, useCallback, useRef, useState } from "../parts/html.js";
import { useEvery, useLoad } from "../parts/load.js";
import { useStore } from "../parts/store.js";
import { Table } from "../parts/table.js";
import { duration } from "../parts/words.js";
import { Processes } from "./figures.js";

/** @typedef {{ name: string, status: string, latencyMs: number | null, what: string }} Part */

const EVERY_MS = 2000;
const WHAT = /** @type {Record<string, string>} */ ({
  events: "The event store: without it nothing is written.",
  lattice: "Lattices, their fields and paths.",
  projections: "Read models. Everything else works without them.",
  database: "PostgreSQL, where the event store keeps everything.",
});

export function Page() {
  const may = useMay();
  const { parts, status, isAway } = useStore(connection);
  const [history, note] = useHistory();
  const [database, setDatabase] = useState(/** @type {boolean | null} */ (null));
  const names = useRef(/** @type {string[]} */ ([]));
  names.current = Object.keys(history.values);
  const { data: version } = useLoad(async (signal) => (await get("/openapi.json", {}, signal)).info.version, []);
  const measure = useCallback(async () => {
    const began = performance.now();
    try {
      const { parts: now } = await (await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(5000) })).json();
      const latencies = Object.entries(now).map(([name, part]) => [name, /** @type {any} */ (part).latencyMs]);
      note({ gateway: performance.now() - began, ...Object.fromEntries(latencies) });
      setDatabase((await fetch("/health/database", { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok);
    } catch {
      note(Object.fromEntries(names.current.map((name) => [name, null])));
      setDatabase(null);
    }
  }, []);
  useEvery(EVERY_MS, measure, { atOnce: true });
  if (!status && !isAway) return html`<${Head} title="Health" /><${Loading} />`;
  return html`<${Head} title="Health" lead=${html`The gateway asks its parts, and this page asks the gateway, every two seconds while it is looked at.`} />
    <${Table} label="Parts" keyOf=${(/** @type {Part} */ part) => part.name} items=${rows(parts, database, isAway && !status, history.values.gateway?.at(-1) ?? null)} columns=${COLUMNS} />
    ${history.times.length > 0 && html`<${Chart} label="How long parts take to say that they are well" unit="ms" times=${history.times} lines=${Object.keys(history.values).map((name) => ({ label: name, values: history.values[name] }))} />`}
    ${may("settings.read") ? html`<${Processes} />` : version && html`<p class="faint">Version ${version} of the gateway. How busy the processes are is shown to owners whom the operator lets see it.</p>`}`;
}

const COLUMNS = [
  { title: "Part", cell: (/** @type {Part} */ part) => html`<b>${part.name}</b>` },
  { title: "State", cell: (/** @type {Part} */ { status }) => html`<${Badge} kind=${status === "SERVING" ? "good" : status === "UNKNOWN" ? "" : "bad"}>${status.toLowerCase().replaceAll("_", " ")}<//>` },
  { title: "Answers in", isNumber: true, cell: (/** @type {Part} */ { latencyMs }) => (latencyMs === null ? "" : duration(latencyMs)) },
  { title: "What it is", cell: (/** @type {Part} */ { what }) => what },
];

/**
 * @param {Record<string, { status: string, latencyMs: number }>} parts
 * @param {boolean | null} database
 * @param {boolean} isGatewayAway
 * @param {number | null} gatewayMs there and back
 * @returns {Part[]}
 */
function rows(parts, database, isGatewayAway, gatewayMs) {
  return [
    { name: "gateway", status: isGatewayAway ? "UNREACHABLE" : "SERVING", latencyMs: gatewayMs, what: "What this page calls, there and back." },
    ...Object.entries(parts).map(([name, part]) => ({ name, ...part, what: WHAT[name] ?? "" })),
    { name: "database", status: database === null ? "UNKNOWN" : database ? "SERVING" : "UNREACHABLE", latencyMs: null, what: WHAT.database },
  ];
}
