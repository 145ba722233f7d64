// The API keys of the tenant: what machines call with.

import { call, get, post } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Copy, Empty, Head, Time } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { Form, Input } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { useOnce } from "../parts/ids.js";
import { useLoad } from "../parts/load.js";
import { Table } from "../parts/table.js";

/** @typedef {{ keyId: string, name: string, scopes: string[], createdAt: string, expiresAt?: string, lastUsedAt?: string }} Key */

const SCOPES = ["events.read", "events.append", "groups.consume", "groups.read", "groups.write", "lattices.read", "lattices.write", "members.read", "projections.read", "schemas.write", "usage.read"];

export function Page() {
  const may = useMay();
  const { data, error, reload } = useLoad(async (signal) => (await get("/v1/keys", {}, signal)).keys, []);
  const mayChange = may("keys.write");
  const empty = html`<${Empty} title="There are no API keys"><p>A service of yours calls with one, and may do what its scopes say and nothing else.</p><//>`;
  return html`<${Head} title="API keys" lead="What machines call with. The secret of a key is shown once." />
    <${Table} label="API keys" keyOf=${(/** @type {Key} */ key) => key.keyId} columns=${columns(mayChange, reload)} items=${data} error=${error} reload=${reload} empty=${empty} />
    ${mayChange && html`<h2>Create a key</h2><${Create} reload=${reload} />`}`;
}

/**
 * @param {boolean} mayChange
 * @param {() => void} reload
 * @returns {import("../parts/table.js").Column<Key>[]}
 */
const columns = (mayChange, reload) => [
  { title: "Name", cell: ({ name }) => html`<b>${name}</b>` },
  { title: "May", cell: ({ scopes }) => scopes.map((scope) => html`<code>${scope}</code> `) },
  { title: "Created", cell: ({ createdAt }) => html`<${Time} at=${createdAt} />` },
  { title: "Last used", cell: ({ lastUsedAt }) => html`<${Time} at=${lastUsedAt} />` },
  { title: "Until", cell: ({ expiresAt }) => (expiresAt ? html`<${Time} at=${expiresAt} />` : "it is revoked") },
  ...(mayChange ? [{ title: "", cell: (/** @type {Key} */ key) => html`<${Confirmed} label="Revoke" title=${`Revoke ${key.name}`} question=${html`<p>Whoever calls with it is refused, within seconds.</p>`} act=${() => call("DELETE", `/v1/keys/${key.keyId}`)} done=${reload} typed=${key.name} />` }] : []),
];

/** @param {{ reload: () => void }} props */
function Create({ reload }) {
  const once = useOnce();
  const act = async (/** @type {Record<string, string>} */ { name, days }, /** @type {HTMLFormElement} */ form) => {
    const scopes = [...new FormData(form).getAll("scopes")];
    const made = await once((requestId) => post("/v1/keys", { name, scopes, ...(days ? { expiresInDays: Number(days) } : {}), requestId }));
    reload();
    return made;
  };
  const done = (/** @type {any} */ { secret }) => html`The secret, which is not shown again: <code>${secret}</code> <${Copy} text=${secret} />`;
  return html`<${Form} label="Create" act=${act} done=${done}>
    <div class="columns"><${Input} name="name" label="What it is for" required=${true} maxlength=${100} /><${Input} name="days" label="Works for so many days" type="number" min="1" max="3650" placeholder="until it is revoked" /></div>
    <fieldset><legend>What it may do</legend><div class="checks">${SCOPES.map((scope) => html`<label class="check"><input type="checkbox" name="scopes" value=${scope} checked=${scope === "events.read"} /> ${scope}</label>`)}</div></fieldset>
  <//>`;
}
