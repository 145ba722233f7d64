// The first page: whether all is well, what there is, and where to begin.

import { get } from "../calls/api.js";
import { connection } from "../calls/connection.js";
import { countedMs, useMay } from "../calls/identity.js";
import { Badge, Facts, Failure, Head, Loading } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { useHistory } from "../parts/history.js";
import { html, useCallback, useRef } from "../parts/html.js";
import { useEvery, useLoad } from "../parts/load.js";
import { to } from "../parts/router.js";
import { useStore } from "../parts/store.js";
import { count, nounOf } from "../parts/words.js";

/** @import { Identity } from "../calls/types.js" */

const EVERY_MS = 2000;

/** @param {{ who: Identity }} props */
export function Page({ who }) {
  const { data, error, reload } = useLoad((signal) => get("/v1/usage", {}, signal), [], { everyMs: 15_000 });
  return html`<${Head} title=${who.tenant.name} lead=${html`What this tenant has, and whether all of girih is there.`} />
    <${Parts} />
    ${data ? html`<${Counts} usage=${data} />` : error ? html`<${Failure} error=${error} again=${reload} />` : html`<${Loading} />`}
    <${Begin} />
    <${Rate} />`;
}

function Parts() {
  const { status, parts, isAway } = useStore(connection);
  if (!status && !isAway) return html`<${Loading} />`;
  return html`<p class="line">${Object.entries(parts).map(([name, part]) => html`<${Badge} kind=${part.status === "SERVING" ? "good" : "bad"}>${name} ${part.status.toLowerCase().replaceAll("_", " ")}<//>`)}
    ${Object.keys(parts).length === 0 && html`<${Badge} kind="bad">gateway away<//>`} <a href="#/health">Health</a></p>`;
}

/** @param {{ usage: any }} props */
const Counts = ({ usage }) => html`<div class="tiles">
  <a class="tile" href="#/events"><b>${count(usage.eventCount)}</b> ${nounOf(usage.eventCount, "event")} in the log</a>
  <a class="tile" href="#/lattices"><b>${count(usage.latticeCount)}</b> ${nounOf(usage.latticeCount, "lattice")}</a>
  <a class="tile" href="#/usage"><b>${count(usage.callCount)}</b> ${nounOf(usage.callCount, "call")} this month</a>
</div>`;

/** How fast the log grows, as seen from here. */
function Rate() {
  const [history, note] = useHistory();
  const last = useRef({ at: 0, head: 0 });
  const measure = useCallback(async () => {
    try {
      const { headPosition } = await get("/v1/log");
      const [at, head] = [performance.now(), Number(headPosition)];
      if (last.current.at) note({ rate: (1000 * (head - last.current.head)) / (at - last.current.at) });
      last.current = { at, head };
    } catch {
      note({ rate: null });
    }
  }, []);
  useEvery(countedMs(EVERY_MS), measure, { atOnce: true });
  return html`<${Chart} label="Events appended to the log, per second" times=${history.times} lines=${[{ label: "appended", values: history.values.rate ?? [] }]} unit="events/s" />`;
}

function Begin() {
  const may = useMay();
  return html`<${Facts} of=${[
    ["See what happens", html`<a href="#/events">Follow the log live</a>`],
    ...(may("events.append") ? [["Write", html`<a href="#/append">Append an event by a form</a>`]] : []),
    ...(may("lattices.write") ? [["Draw", html`<a href="#/new-lattice">Draw a lattice, and find a path on it</a>`]] : []),
    ["Find a request", html`<a href=${to(["traces"])}>Trace what one correlation id caused</a>`],
  ]} />`;
}
