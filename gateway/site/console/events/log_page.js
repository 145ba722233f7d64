// The log of the tenant, live.

import { useMay } from "../calls/identity.js";
import { Empty, Head } from "../parts/basics.js";
import { html } from "../parts/html.js";
import { go, to } from "../parts/router.js";
import { EventDetail } from "./event.js";
import { Filters, filterOf } from "./filters.js";
import { Log } from "./log.js";

/** @param {{ query: Record<string, string> }} props */
export function Page({ query }) {
  const may = useMay();
  const filter = filterOf(query);
  const { event, ...rest } = query;
  const empty = filter
    ? html`<${Empty} title="No event is meant by this filter"><p><a href="#/events">Show all events</a></p><//>`
    : html`<${Empty} title="The log is empty"><p>${may("events.append") ? html`<a href="#/append">Append the first event</a>, or draw a lattice: its creation is an event, too.` : "Nothing has been appended yet. It will be shown here as soon as it is."}</p><//>`;
  return html`<${Head} title="Log" lead="Everything that happened, in the order in which it was stored."><${AppendLink} /><//>
    <${Filters} query=${rest} />
    <div class=${event ? "log with-event" : "log"}>
      <${Log} path="/v1/events" query=${filter ? { "filter.queries": JSON.stringify(filter) } : {}} begin=${query.from ? { kind: "position", value: query.from } : { kind: "newest" }} here=${["events"]} place=${query} empty=${empty} />
      ${event && html`<${EventAside} position=${event} close=${() => go(to(["events"], rest))} />`}
    </div>`;
}

function AppendLink() {
  return useMay()("events.append") && html`<a class="button" href="#/append">Append an event</a>`;
}

/** @param {{ position: string, close: () => void }} props */
export const EventAside = ({ position, close }) => html`<aside class="event" aria-label=${`Event ${position}`}><${EventDetail} key=${position} position=${position} close=${close} /></aside>`;
