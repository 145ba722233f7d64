// Which types of events have a schema, and the way to register one.

import { get, post } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Badge, Empty, Head, Time } from "../parts/basics.js";
import { Field, Form, Input, jsonOf, Select } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { usePages } from "../parts/load.js";
import { to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { bytes, enumWord } from "../parts/words.js";

/** @typedef {{ type: string, version: number, compatibility: string, registeredAt: string, byteCount: number, hasUpcaster: boolean }} Version */

const COMPATIBILITIES = /** @type {[string, string][]} */ ([["COMPATIBILITY_BACKWARD", "backward"], ["COMPATIBILITY_FORWARD", "forward"], ["COMPATIBILITY_FULL", "full"], ["COMPATIBILITY_NONE", "none"]]);

/** @type {import("../parts/table.js").Column<Version>[]} */
const COLUMNS = [
  { title: "Type", cell: ({ type }) => html`<a href=${to(["schemas", type])}>${type}</a>` },
  { title: "Version", isNumber: true, cell: ({ version }) => version },
  { title: "Compatibility", cell: ({ compatibility }) => enumWord(compatibility, "COMPATIBILITY_") },
  { title: "Size", isNumber: true, cell: ({ byteCount }) => bytes(byteCount) },
  { title: "Registered", cell: ({ registeredAt }) => html`<${Time} at=${registeredAt} />` },
  { title: "", cell: ({ hasUpcaster }) => hasUpcaster && html`<${Badge} kind="plain">has an upcaster<//>` },
];

export function Page() {
  const may = useMay();
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { versions, nextPageToken } = await get("/v1/schemas", { pageToken }, signal);
    return { items: versions, next: nextPageToken };
  };
  const pages = usePages(find, []);
  const empty = html`<${Empty} title="No type has a schema"><p>Events of any shape are taken.${may("schemas.write") ? " Register a schema below, and events of its type are checked when they are appended." : ""}</p><//>`;
  return html`<${Head} title="Schemas" lead="What events of a type must be like: checked when they are appended." />
    <${Table} label="Schemas" columns=${COLUMNS} keyOf=${(/** @type {Version} */ one) => `${one.type} ${one.version}`} ...${pages} empty=${empty} />
    ${may("schemas.write") && html`<h2>Register a schema</h2><${Register} reload=${pages.reload} />`}`;
}

/** @param {{ reload: () => void }} props */
function Register({ reload }) {
  const act = async (/** @type {Record<string, string>} */ { type, version, compatibility, schema }) => {
    const answer = await post("/v1/schemas", { type: type.trim(), schema: jsonOf(schema, "The schema"), compatibility, ...(version ? { version: Number(version) } : {}) });
    reload();
    return answer;
  };
  const done = (/** @type {any} */ answer) => (answer.alreadyRegistered ? `Version ${answer.version.version} was this already.` : `Version ${answer.version.version} holds from now on.`);
  return html`<${Form} label="Register" act=${act} done=${done}>
    <div class="columns"><${Input} name="type" label="Type" required=${true} placeholder="submitted" /><${Input} name="version" label="Version" type="number" min="1" placeholder="the next" /></div>
    <${Select} name="compatibility" label="Compared with the last version" of=${COMPATIBILITIES} hint="Backward: it takes what the last version takes. Forward: the last version takes what it takes. Full: both. None: nothing is compared." />
    <${Field} label="JSON Schema"><textarea name="schema" rows="8" spellcheck=${false}>${'{\n  "type": "object",\n  "required": []\n}'}</textarea><//>
  <//>`;
}
