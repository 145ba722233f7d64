// What one request caused, over all streams: a tree, with the time of each event beside it.

import { get } from "../calls/api.js";
import { Copy, Empty, Failure, Head, Loading, Time } from "../parts/basics.js";
import { Input } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { usePages } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { counted, duration } from "../parts/words.js";

/** @import { Recorded } from "../calls/types.js" */
/** @typedef {{ recorded: Recorded, depth: number, cause?: { position: string, correlationId: string, stream: string, type: string } }} Traced */

const PAGE_SIZE = 200;
const INDENT_DEPTH_MAX = 12;

/** @param {{ correlationId?: string, query: Record<string, string> }} props */
export function Page({ correlationId, query }) {
  return correlationId ? html`<${Trace} correlationId=${correlationId} position=${query.event ?? ""} />` : html`<${Search} />`;
}

function Search() {
  const submit = (/** @type {any} */ event) => {
    event.preventDefault();
    go(to(["traces", String(new FormData(event.currentTarget).get("id")).trim()]));
  };
  return html`<${Head} title="Traces" lead="Every answer and every error carries a correlation id. Here is what came of it." />
    <form class="form" onSubmit=${submit}><${Input} name="id" label="Correlation id" required=${true} pattern="[A-Za-z0-9._\\-]{1,64}" /><div class="actions"><button type="submit">Show its trace</button></div></form>
    <${Empty} title="No id at hand?"><p>Open any event of <a href="#/events">the log</a>: its trace is linked there.</p><//>`;
}

/** @param {{ correlationId: string, position: string }} props */
function Trace({ correlationId, position }) {
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { events, nextPageToken } = await get(`/v1/traces/${encodeURIComponent(correlationId)}`, { pageSize: PAGE_SIZE, pageToken }, signal);
    return { items: /** @type {Traced[]} */ (events), next: nextPageToken };
  };
  const { items, error, hasMore, isLoading, loadMore, reload } = usePages(find, [correlationId]);
  const times = items?.map(({ recorded }) => Date.parse(recorded.recordedAt)) ?? [];
  const [begin, end] = [Math.min(...times), Math.max(...times)];
  return html`<${Head} title="Trace" lead=${html`<code>${correlationId}</code> <${Copy} text=${correlationId} />`} />
    <${Failure} error=${error} again=${reload} />
    ${!items && !error && html`<${Loading} />`}
    ${items?.length === 0 && html`<${Empty} title="This request caused no event"><p>Reading causes none, and a request that was refused neither. An id that nobody has used looks the same.</p><//>`}
    ${items && items.length > 0 && html`<p>${counted(items.length, "event")}${hasMore ? " so far" : ""} within ${duration(end - begin)}, from <${Time} at=${begin} full=${true} /></p>
      <ol class="tree" aria-label="Events of the trace">${items.map((one) => html`<li key=${one.recorded.position}><${Line} one=${one} begin=${begin} end=${end} isMeant=${one.recorded.position === position} /></li>`)}</ol>
      ${hasMore && html`<button type="button" class="second" disabled=${isLoading} onClick=${loadMore}>Show more</button>`}`}`;
}

/** @param {{ one: Traced, begin: number, end: number, isMeant: boolean }} props */
function Line({ one: { recorded, depth, cause }, begin, end, isMeant }) {
  const { position, event, recordedAt, context } = recorded;
  const isFromElsewhere = cause !== undefined && cause !== null && cause.correlationId !== context.correlationId;
  const after = Date.parse(recordedAt) - begin;
  const share = end > begin ? after / (end - begin) : 0;
  const indent = { paddingLeft: `${1.4 * Math.min(depth, INDENT_DEPTH_MAX)}rem` };
  return html`<div class="traced">
    <div style=${indent}>${depth > 0 && html`<span class="faint" aria-label=${`Caused by the one above, at depth ${depth}`}>└ </span>`}<a href=${to(["events", position])} aria-current=${isMeant ? "true" : undefined}><b>${event.type}</b></a> in <a href=${to(["streams", event.stream])}>${event.stream}</a>
      ${isMeant && html` <span class="badge plain">you came from here</span>`}
      ${cause && (isFromElsewhere || depth === 0) && html`<div class="faint">caused by <a href=${to(["events", cause.position])}>${cause.type}</a>${isFromElsewhere && html` of <a href=${to(["traces", cause.correlationId])}>another request</a>`}</div>`}</div>
    <div title=${recordedAt}><span class="faint">+ ${duration(after)}</span><div class="bar-line" aria-hidden="true"><i style=${{ left: `calc(${share} * (100% - 3px))` }}></i></div></div>
  </div>`;
}
