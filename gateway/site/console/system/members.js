// Who is in the tenant, as what, and who is invited.

import { call, get, post } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Copy, Empty, Failure, Head, Time } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { Form, Input, Select } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { useAction, useLoad, usePages } from "../parts/load.js";
import { Table } from "../parts/table.js";
import { enumWord } from "../parts/words.js";

/** @import { Identity } from "../calls/types.js" */
/** @typedef {{ user: { userId: string, name: string, email: string }, role: string, joinedAt: string }} Member */
/** @typedef {{ invitationId: string, email: string, role: string, createdAt: string, expiresAt: string }} Invitation */

const ROLES = /** @type {[string, string][]} */ ([["ROLE_VIEWER", "viewer: sees"], ["ROLE_MEMBER", "member: works with data"], ["ROLE_ADMIN", "admin: lets people and keys in"], ["ROLE_OWNER", "owner"]]);

/** @param {{ who: Identity }} props */
export function Page({ who }) {
  const may = useMay();
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { members, nextPageToken } = await get("/v1/members", { pageToken }, signal);
    return { items: members, next: nextPageToken };
  };
  const pages = usePages(find, []);
  const mayChange = may("members.write");
  return html`<${Head} title="Members" lead=${`Who works in ${who.tenant.name}.`} />
    <${Table} label="Members" keyOf=${(/** @type {Member} */ one) => one.user.userId} columns=${columns(mayChange, pages.reload)} ...${pages} />
    ${mayChange && html`<${Invitations} />`}`;
}

/**
 * @param {boolean} mayChange
 * @param {() => void} reload
 * @returns {import("../parts/table.js").Column<Member>[]}
 */
const columns = (mayChange, reload) => [
  { title: "Name", cell: ({ user }) => html`<b>${user.name}</b>` },
  { title: "E-mail", cell: ({ user }) => user.email },
  { title: "Role", cell: (member) => (mayChange ? html`<${RoleOf} member=${member} reload=${reload} />` : enumWord(member.role, "ROLE_")) },
  { title: "Joined", cell: ({ joinedAt }) => html`<${Time} at=${joinedAt} />` },
  ...(mayChange ? [{ title: "", cell: (/** @type {Member} */ { user }) => html`<${Confirmed} label="Remove" title=${`Remove ${user.name}`} question=${html`<p>${user.email} may do nothing here any longer, at once.</p>`} act=${() => call("DELETE", `/v1/members/${user.userId}`)} done=${reload} />` }] : []),
];

/** @param {{ member: Member, reload: () => void }} props */
function RoleOf({ member, reload }) {
  const action = useAction(async (/** @type {string} */ role) => {
    await call("PATCH", `/v1/members/${member.user.userId}`, { body: { role } });
    reload();
  });
  return html`<select aria-label=${`The role of ${member.user.name}`} disabled=${action.isRunning} value=${member.role} onChange=${(/** @type {any} */ event) => action.run(event.target.value)}>${ROLES.map(([role]) => html`<option value=${role} selected=${role === member.role}>${enumWord(role, "ROLE_")}</option>`)}</select><${Failure} error=${action.error} />`;
}

function Invitations() {
  const { data, error, reload } = useLoad(async (signal) => (await get("/v1/invitations", {}, signal)).invitations, []);
  const act = async (/** @type {Record<string, string>} */ { email, role }) => {
    const made = await post("/v1/invitations", { email, role });
    reload();
    return made;
  };
  const done = (/** @type {any} */ { token }) => html`Send this token, which is not shown again: <code>${token}</code> <${Copy} text=${token} />`;
  /** @type {import("../parts/table.js").Column<Invitation>[]} */
  const invited = [
    { title: "E-mail", cell: ({ email }) => email },
    { title: "Role", cell: ({ role }) => enumWord(role, "ROLE_") },
    { title: "Until", cell: ({ expiresAt }) => html`<${Time} at=${expiresAt} />` },
    { title: "", cell: ({ invitationId, email }) => html`<${Confirmed} label="Revoke" title=${`Revoke the invitation of ${email}`} question=${html`<p>The token that was sent works no longer.</p>`} act=${() => call("DELETE", `/v1/invitations/${invitationId}`)} done=${reload} />` },
  ];
  return html`<h2>Invitations</h2>
    <${Table} label="Invitations" keyOf=${(/** @type {Invitation} */ one) => one.invitationId} columns=${invited} items=${data} error=${error} reload=${reload} empty=${html`<${Empty} title="Nobody is invited"><p>Invite somebody below: they join with the token that you send them.</p><//>`} />
    <${Form} label="Invite" act=${act} done=${done}>
      <div class="columns"><${Input} name="email" label="E-mail" type="email" required=${true} /><${Select} name="role" label="Role" of=${ROLES} value="ROLE_MEMBER" /></div>
    <//>`;
}
