// What the processes of this girih were told when they started, without what is secret.

import { get } from "../calls/api.js";
import { Badge, Empty, Failure, Head, Loading, Name } from "../parts/basics.js";
import { Field } from "../parts/forms.js";
import { html, useState } from "../parts/html.js";
import { useLoad } from "../parts/load.js";
import { Table } from "../parts/table.js";
import { counted } from "../parts/words.js";

/** @typedef {{ variable: string, value: string, isSecret: boolean, isDefault: boolean }} Setting */
/** @typedef {{ process: string, settings: Setting[] }} Process */

export function Page() {
  const { data, error, reload } = useLoad(async (signal) => /** @type {Process[]} */ ((await get("/v1/settings", {}, signal)).processes), []);
  const [text, setText] = useState("");
  const [isAll, setAll] = useState(false);
  const isShown = (/** @type {Setting} */ one) => (isAll || !one.isDefault) && one.variable.includes(text.trim().toUpperCase());
  return html`<${Head} title="Server settings" lead="What each process was told when it started. Who operates girih changes them by environment variables; of secrets it is shown that they are there, and nothing else." />
    <${Failure} error=${error} again=${reload} />
    <div class="columns"><${Field} label="Find a variable"><input type="search" value=${text} autocomplete="off" spellcheck=${false} onInput=${(/** @type {any} */ event) => setText(event.target.value)} /><//>
      <label class="check"><input type="checkbox" checked=${isAll} onChange=${(/** @type {any} */ event) => setAll(event.target.checked)} /> Also those that are as by default</label></div>
    ${data ? data.map((one) => html`<${ProcessSettings} key=${one.process} of=${one} isShown=${isShown} />`) : !error && html`<${Loading} />`}`;
}

/** @param {{ of: Process, isShown: (one: Setting) => boolean }} props */
function ProcessSettings({ of: { process, settings }, isShown }) {
  const shown = settings.filter(isShown);
  const empty = settings.length ? html`<p class="hint">None of its ${counted(settings.length, "setting")} is meant.</p>` : html`<${Empty} title="It does not answer"><p>Its settings are shown once it does.</p><//>`;
  return html`<h2>${process}</h2><${Table} label=${`Settings of ${process}`} keyOf=${(/** @type {Setting} */ one) => one.variable} columns=${COLUMNS} items=${shown} empty=${empty} />`;
}

/** @type {import("../parts/table.js").Column<Setting>[]} */
const COLUMNS = [
  { title: "Variable", cell: ({ variable }) => html`<code><${Name} of=${variable} /></code>` },
  { title: "Value", cell: ({ value, isSecret, isDefault }) => (isSecret ? html`<span class="faint">${isDefault ? "not set" : "a secret"}</span>` : value ? html`<${Name} of=${value} />` : html`<span class="faint">unset</span>`) },
  { title: "", cell: ({ isDefault }) => (isDefault ? html`<span class="faint">by default</span>` : html`<${Badge} kind="plain">set<//>`) },
];
