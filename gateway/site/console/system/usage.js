// What the tenant uses, against what its plan allows, and who is logged in here.

import { get, post } from "../calls/api.js";
import { Copy, Facts, Failure, Head, Loading } from "../parts/basics.js";
import { Form, Input } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { useLoad } from "../parts/load.js";
import { count, enumWord, nounOf } from "../parts/words.js";
import { session } from "../../shared/session.js";

/** @import { Identity } from "../calls/types.js" */

/** @param {{ who: Identity }} props */
export function Page({ who }) {
  const { data, error, reload } = useLoad((signal) => get("/v1/usage", {}, signal), [], { everyMs: 15_000 });
  return html`<${Head} title="Usage" lead=${data && html`The plan <b>${data.plan.name}</b>, and what is used of it in ${data.month} (UTC).`} />
    <${Failure} error=${error} again=${reload} />
    ${data ? html`<div class="tiles">
      <${Used} what=${`${nounOf(data.callCount, "call")} this month`} used=${data.callCount} most=${data.plan.monthlyCallCountMax} />
      <${Used} what=${nounOf(data.latticeCount, "lattice")} used=${data.latticeCount} most=${data.plan.latticeCountMax} />
      <${Used} what=${nounOf(data.eventCount, "event")} used=${data.eventCount} most="0" />
    </div>
    <h2>The plan</h2>
    <${Facts} of=${[
      ["Axes of a lattice", most(data.plan.axisCountMax)],
      ["Sites along an axis", most(data.plan.extentMax)],
      ["Versions of schemas", most(data.plan.schemaCountMax)],
      ["Consumer groups", most(data.plan.groupCountMax)],
      ["Jobs that wait or run", most(data.plan.jobCountMax)],
    ]} />` : !error && html`<${Loading} />`}
    <h2>Who is logged in here</h2>
    <${Facts} of=${[
      ["Name", who.user?.name ?? who.key?.name],
      ["E-mail", who.user?.email],
      ["Tenant", html`${who.tenant.name} <code>${who.tenant.tenantId}</code> <${Copy} text=${who.tenant.tenantId} />`],
      ["Role", enumWord(who.role, "ROLE_") || "an API key"],
      ["May", who.scopes.map((scope) => html`<code>${scope}</code> `)],
    ]} />
    ${who.user && html`<details><summary>Change the password</summary><${Password} /></details>`}`;
}

/** @param {number | string | undefined} value */
const most = (value) => (Number(value ?? 0) === 0 ? "without limit" : `at most ${count(value)}`);

/** @param {{ what: string, used: string | number, most?: string | number }} props */
function Used({ what, used, most: limit }) {
  const hasLimit = Number(limit ?? 0) > 0;
  const share = hasLimit ? Number(used) / Number(limit) : 0;
  return html`<div class="tile"><b>${count(used)}</b> ${what}${hasLimit && html`<br />of ${count(limit)} <meter min="0" max="1" low=".8" high=".95" optimum="0" value=${share} aria-label=${`${what}: ${Math.round(100 * share)} % of the plan`}></meter>`}</div>`;
}

function Password() {
  const act = async (/** @type {Record<string, string>} */ { password, newPassword }, /** @type {HTMLFormElement} */ form) => {
    await post("/auth/password", { password, newPassword, refresh_token: session.refresh });
    form.reset();
  };
  return html`<${Form} label="Change" act=${act} done="Changed. All your other sessions have ended.">
    <${Input} name="password" label="The present one" type="password" autocomplete="current-password" required=${true} />
    <${Input} name="newPassword" label="The new one" type="password" autocomplete="new-password" required=${true} />
  <//>`;
}
