// Where a user is logged in and may go on, and what happened to the security of the tenant.

import { logOut, logOutEverywhere, session, switchTenant } from "../../shared/session.js";
import { call, get } from "../calls/api.js";
import { Badge, Empty, Facts, Failure, Head, Time } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { html } from "../parts/html.js";
import { useAction, useLoad, usePages } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { enumWord, localTime } from "../parts/words.js";
import { Log } from "../events/log.js";
import { EventAside } from "../events/log_page.js";

/** @import { Identity } from "../calls/types.js" */
/** @typedef {{ sessionId: string, tenantName: string, openedAt: string, refreshedAt: string, expiresAt: string, address: string, agent: string, isCurrent: boolean }} Session */
/** @typedef {{ tenant: { tenantId: string, name: string }, role: string, joinedAt: string }} Membership */

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
      <${Confirmed} label="Log out everywhere" title="Log out everywhere" question=${html`<p>All your sessions end, this one among them, in all tenants and on all devices.</p>`} act=${logOutEverywhere} />
    </div>`}
    ${who.user && html`<h2>All your sessions</h2><${Sessions} /><h2>Your tenants</h2><${Tenants} who=${who} />`}
    <h2>Security events</h2>
    <p class="lead">Who came in, who was refused, and what was changed, from the stream <a href=${to(["streams", STREAM])}>${STREAM}</a>.</p>
    <div class=${event ? "log with-event" : "log"}>
      <${Log} path=${`/v1/streams/${encodeURIComponent(STREAM)}/events`} query=${{}} isStream=${true} here=${["security"]} place=${query} empty=${empty} />
      ${event && html`<${EventAside} position=${event} close=${() => go(to(["security"], rest))} />`}
    </div>`;
}

function Sessions() {
  const { data, error, reload } = useLoad(async (signal) => (await get("/auth/sessions", {}, signal)).sessions, []);
  /** @type {import("../parts/table.js").Column<Session>[]} */
  const columns = [
    { title: "Came from", cell: ({ address, agent, isCurrent }) => html`<b>${address || "an address that was not noted"}</b> ${isCurrent && html`<${Badge} kind="good">this one<//>`}<br /><span class="faint">${programOf(agent)}</span>` },
    { title: "Tenant", cell: ({ tenantName }) => tenantName },
    { title: "Opened", cell: ({ openedAt }) => html`<${Time} at=${openedAt} />` },
    { title: "Last refreshed", cell: ({ refreshedAt }) => html`<${Time} at=${refreshedAt} />` },
    { title: "Ends by itself", cell: ({ expiresAt }) => html`<${Time} at=${expiresAt} />` },
    { title: "", cell: ({ sessionId, isCurrent, address }) => !isCurrent && html`<${Confirmed} label="End" title="End this session" question=${html`<p>Whoever uses it, from ${address || "wherever"}, has to log in again.</p>`} act=${() => call("DELETE", `/auth/sessions/${sessionId}`)} done=${reload} />` },
  ];
  return html`<${Table} label="Your sessions" keyOf=${(/** @type {Session} */ one) => one.sessionId} columns=${columns} items=${data} error=${error} reload=${reload} empty=${html`<${Empty} title="No session is known yet"><p>A session of an earlier version is shown once it was refreshed.</p><//>`} />`;
}

/** @param {{ who: Identity }} props */
function Tenants({ who }) {
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { memberships, nextPageToken } = await get("/auth/tenants", { pageToken }, signal);
    return { items: /** @type {Membership[]} */ (memberships), next: nextPageToken };
  };
  const pages = usePages(find, []);
  const move = useAction(async (/** @type {string} */ tenantId) => {
    const problem = await switchTenant(tenantId);
    if (problem) throw new Error(problem);
    // Everything on the page is of the other tenant.
    go("#/");
    location.reload();
  });
  /** @type {import("../parts/table.js").Column<Membership>[]} */
  const columns = [
    { title: "Tenant", cell: ({ tenant }) => html`<b>${tenant.name}</b>` },
    { title: "You are", cell: ({ role }) => enumWord(role, "ROLE_") },
    { title: "Joined", cell: ({ joinedAt }) => html`<${Time} at=${joinedAt} />` },
    {
      title: "",
      cell: ({ tenant }) =>
        tenant.tenantId === who.tenant.tenantId
          ? html`<${Badge} kind="good">you are here<//>`
          : session.refresh && html`<button type="button" class="second" disabled=${move.isRunning} onClick=${() => move.run(tenant.tenantId)}>Work there</button>`,
    },
  ];
  return html`<${Failure} error=${move.error} /><${Table} label="Your tenants" keyOf=${(/** @type {Membership} */ one) => one.tenant.tenantId} columns=${columns} ...${pages} />`;
}

/**
 * What a program that logged in is, in few words: of browsers their name and the system they run on.
 * @param {string} agent
 */
function programOf(agent) {
  const browser = /(Edg|OPR|Firefox|Chrome|Safari)(?:\/| )([0-9]+)/.exec(agent);
  if (!browser || !agent.startsWith("Mozilla/")) return agent;
  const names = /** @type {Record<string, string>} */ ({ Edg: "Edge", OPR: "Opera" });
  const system = /(Windows|Mac OS X|Android|iPhone|Linux)/.exec(agent)?.[1] ?? "";
  return `${names[browser[1]] ?? browser[1]} ${browser[2]}${system ? ` on ${system}` : ""}`;
}
