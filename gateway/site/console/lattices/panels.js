// What stands beside a slice: which axes it shows, fields with their histogram, and components.

import { post } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Facts, Failure } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { Form, Input, Select } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { useOnce } from "../parts/ids.js";
import { useAction } from "../parts/load.js";
import { to } from "../parts/router.js";
import { computedIn, count, enumWord, number } from "../parts/words.js";
import { findComponents } from "./calls.js";

/** @import { Field } from "../calls/types.js" */
/** @import { Slice } from "./sites.js" */

const COLOR_MAPS = ["VIRIDIS", "PLASMA", "INFERNO", "MAGMA", "CIVIDIS", "GREY", "COOLWARM"];

/** @param {{ shape: number[], slice: Slice, setSlice: (slice: Slice) => void }} props */
export function Axes({ shape, slice, setSlice }) {
  const axes = /** @type {[string, string][]} */ (shape.map((length, axis) => [String(axis), `axis ${axis}, ${count(length)} sites`]));
  const choose = (/** @type {"rowAxis" | "columnAxis"} */ which) => (/** @type {any} */ event) => {
    const axis = Number(event.target.value);
    const other = which === "rowAxis" ? "columnAxis" : "rowAxis";
    setSlice({ ...slice, [which]: axis, ...(slice[other] === axis ? { [other]: slice[which] } : {}) });
  };
  const move = (/** @type {number} */ axis) => (/** @type {any} */ event) => {
    const place = Math.min(shape[axis] - 1, Math.max(0, Math.round(Number(event.target.value)) || 0));
    setSlice({ ...slice, at: slice.at.map((at, one) => (one === axis ? place : at)) });
  };
  return html`<section><h2>Slice</h2>
    <div class="columns"><${Select} label="Down" of=${axes} value=${String(slice.rowAxis)} onChange=${choose("rowAxis")} /><${Select} label="To the right" of=${axes} value=${String(slice.columnAxis)} onChange=${choose("columnAxis")} /></div>
    ${shape.map((length, axis) => axis !== slice.rowAxis && axis !== slice.columnAxis && html`<div class="axis" key=${axis}><span>axis ${axis}</span><input type="range" aria-label=${`Place on axis ${axis}`} min="0" max=${length - 1} value=${slice.at[axis]} onInput=${move(axis)} /><input type="number" aria-label=${`Place on axis ${axis}, as a number`} min="0" max=${length - 1} value=${slice.at[axis]} onChange=${move(axis)} /></div>`)}
  </section>`;
}

/**
 * @param {{ latticeId: string, reload: () => void, fields?: Field[], style: { field: string, colorMap: string }, setStyle: (style: { field: string, colorMap: string }) => void, statistics: any }} props
 */
export function FieldPanel({ latticeId, reload, fields, style, setStyle, statistics }) {
  const may = useMay();
  const create = may("lattices.write") && html`<details><summary>New field</summary><${CreateField} latticeId=${latticeId} reload=${reload} /></details>`;
  if (!fields?.length) return html`<section><h2>Fields</h2><p class="hint">It has none. A field is a number for each site.</p>${create}</section>`;
  const names = /** @type {[string, string][]} */ ([["", "free and blocked sites"], ...fields.map(({ name, numberType }) => [name, `${name}, ${enumWord(numberType, "NUMBER_TYPE_")}`])]);
  const maps = /** @type {[string, string][]} */ (COLOR_MAPS.map((name) => [`COLOR_MAP_${name}`, name.toLowerCase()]));
  return html`<section><h2>Fields</h2>
    <${Select} label="Show" of=${names} value=${style.field} onChange=${(/** @type {any} */ event) => setStyle({ ...style, field: event.target.value })} />
    ${style.field && html`<p><a href=${to(["lattices", latticeId, "fields", style.field])}>Its page, and transforms of it</a></p>`}
    ${style.field && html`<${Select} label="Colours" of=${maps} value=${style.colorMap} onChange=${(/** @type {any} */ event) => setStyle({ ...style, colorMap: event.target.value })} />`}
    ${statistics && html`<${Facts} of=${[["Least", number(statistics.low)], ["Greatest", number(statistics.high)], ["Mean", number(statistics.mean)], ["Variance", number(statistics.variance)]]} />
      ${statistics.histogram && html`<${Chart} label="Histogram of the slice" isTime=${false} times=${statistics.histogram.edges.slice(0, -1)} lines=${[{ label: "sites", values: statistics.histogram.counts.map(Number) }]} />`}`}
    ${create}
  </section>`;
}

const NUMBER_TYPES = /** @type {[string, string][]} */ (["FLOAT64", "FLOAT32", "INT64", "INT32", "INT16", "UINT16", "UINT8"].map((name) => [`NUMBER_TYPE_${name}`, name.toLowerCase()]));

/** @param {{ latticeId: string, reload: () => void }} props */
function CreateField({ latticeId, reload }) {
  const once = useOnce();
  const act = async (/** @type {Record<string, string>} */ { name, numberType, fill }) => {
    await once((requestId) => post(`/v1/lattices/${encodeURIComponent(latticeId)}/fields`, { name, numberType, ...(fill ? { fill: Number(fill) } : {}), requestId }));
    reload();
  };
  return html`<${Form} label="Create" act=${act} done="Created.">
    <${Input} name="name" label="Name" required=${true} placeholder="heat" />
    <${Select} name="numberType" label="Numbers" of=${NUMBER_TYPES} />
    <${Input} name="fill" label="Each site begins as" type="number" step="any" value="0" />
  <//>`;
}

/** @param {{ latticeId: string }} props */
export function Components({ latticeId }) {
  const action = useAction(() => findComponents(latticeId));
  return html`<section><h2>Components</h2><${ComponentsFound} action=${action} /></section>`;
}

/** @param {{ action: ReturnType<typeof useAction> & { outcome?: any } }} props */
function ComponentsFound({ action }) {
  const answer = action.outcome;
  return html`<${Failure} error=${action.error} />
    ${answer ? html`<${Facts} of=${[["Components", count(answer.count)], ["Largest", answer.components.map((/** @type {any} */ one) => count(one.size)).join(", ")], ["Spans", answer.components.some((/** @type {any} */ one) => one.spanning.some(Boolean)) ? "one leads from side to side" : "none leads from side to side"], ["Found in", computedIn(answer.computation.elapsedNs)]]} />` : html`<button type="button" class="second" disabled=${action.isRunning} onClick=${() => action.run()}>${action.isRunning ? "Counting …" : "Count what hangs together"}</button>`}`;
}
