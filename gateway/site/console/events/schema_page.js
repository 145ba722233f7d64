// The versions of the schema of one type, and what they say.

import { call, get, getExactly } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Copy, Facts, Failure, Head, Loading, Time } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { html } from "../parts/html.js";
import { Tree } from "../parts/json.js";
import { useLoad } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { enumWord } from "../parts/words.js";

/** @param {{ type: string, query: Record<string, string> }} props */
export function Page({ type, query }) {
  const may = useMay();
  const path = `/v1/schemas/${encodeURIComponent(type)}`;
  const versions = useLoad(async (signal) => (await get("/v1/schemas", { type, pageSize: 100 }, signal)).versions, [type]);
  const { data, error, reload } = useLoad((signal) => getExactly(path, { version: query.version }, signal), [path, query.version]);
  const remove = html`<${Confirmed} label="Delete all versions" title=${`Delete the schemas of ${type}`} typed=${type} act=${() => call("DELETE", path)} done=${() => go("#/schemas")} question=${html`<p>Events of this type are not checked any longer. Those that are stored stay as they are.</p>`} />`;
  return html`<${Head} title=${type} lead="Schema"><a class="button second" href=${to(["events"], { types: type })}>Its events</a>${may("schemas.write") && remove}<//>
    <${Failure} error=${error} again=${reload} />
    ${versions.data && html`<p class="line">${versions.data.map((/** @type {any} */ one) => html`<a class="badge plain" href=${to(["schemas", type], { version: one.version })} aria-current=${one.version === data?.version.version ? "true" : undefined}>version ${one.version}</a>`)}</p>`}
    ${data ? html`<${Facts} of=${[["Version", data.version.version], ["Registered", html`<${Time} at=${data.version.registeredAt} full=${true} />`], ["Compatibility", enumWord(data.version.compatibility, "COMPATIBILITY_")]]} />
      <h2>Schema</h2><p><${Copy} text=${JSON.stringify(data.schema, null, 2)} /></p><${Tree} value=${data.schema} />
      ${data.upcaster && html`<h2>Upcaster to version ${data.upcaster.toVersion}</h2><${Tree} value=${data.upcaster.steps} />`}` : !error && html`<${Loading} />`}`;
}
