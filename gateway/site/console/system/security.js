// This session, and what happened to the security of the tenant.

import { logOut, session } from "../../shared/session.js";
import { Empty, Facts, Head } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { html } from "../parts/html.js";
import { go, to } from "../parts/router.js";
import { localTime } from "../parts/words.js";
import { Log } from "../events/log.js";
import { EventAside } from "../events/log_page.js";

/** @import { Identity } from "../calls/types.js" */

const STREAM = "$security";

/** @param {{ who: Identity, query: Record<string, string> }} props */
export function Page({ who, query }) {
  const { event, ...rest } = query;
  const empty = html`<${Empty} title="Nothing has happened"><p>Logins, refusals, and changes of members and keys are shown here.</p><//>`;
  return html`<${Head} title="Sessions and security" />
    <h2>This session</h2>
    <${Facts} of=${[
      ["User", who.user ? `${who.user.name}, ${who.user.email}` : (who.key?.name ?? "")],
      ["Token renewed", session.refresh ? `by itself, next before ${localTime(session.expires)}` : "not: it was pasted here"],
    ]} />
    ${session.refresh && html`<div class="actions">
      <button type="button" class="second" onClick=${() => logOut()}>Log out here</button>
      <${Confirmed} label="Log out everywhere" title="Log out everywhere" question=${html`<p>All your sessions end, this one among them, in all tenants and on all devices.</p>`} act=${() => logOut({ everywhere: true })} />
    </div>`}
    <h2>Security events</h2>
    <p class="lead">Who came in, who was refused, and what was changed, from the stream <a href=${to(["streams", STREAM])}>${STREAM}</a>.</p>
    <div class=${event ? "log with-event" : "log"}>
      <${Log} path=${`/v1/streams/${encodeURIComponent(STREAM)}/events`} query=${{}} isStream=${true} here=${["security"]} place=${query} empty=${empty} />
      ${event && html`<${EventAside} position=${event} close=${() => go(to(["security"], rest))} />`}
    </div>`;
}
