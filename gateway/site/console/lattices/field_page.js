// One field: its numbers as a whole, and transforms of it.

import { call, get, post } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Badge, Facts, Failure, Head, Loading, Time } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { Confirmed } from "../parts/dialogs.js";
import { Field as Labelled, Form, jsonOf, Select } from "../parts/forms.js";
import { html, useState } from "../parts/html.js";
import { useOnce } from "../parts/ids.js";
import { useAction, useLoad } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { bytes, count, duration, enumWord, number, shapeText } from "../parts/words.js";
import { Board } from "./board.js";
import { drawnBy } from "./calls.js";

/** @import { Field } from "../calls/types.js" */
/** @typedef {{ transform: string, invertibility: string, errorBound: number, inPlace: boolean, auxiliaryBytes: string, clampedCount: string }} Report */

/** @param {{ latticeId: string, name: string }} props */
export function Page({ latticeId, name }) {
  const may = useMay();
  const path = `/v1/lattices/${encodeURIComponent(latticeId)}/fields/${encodeURIComponent(name)}`;
  const field = useLoad(async (signal) => /** @type {Field & { revision: string }} */ (await get(path, {}, signal)), [path]);
  const statistics = useLoad((signal) => get(`${path}/statistics`, { bins: 60 }, signal), [path, field.data?.digest]);
  if (!field.data) return field.error ? html`<${Failure} error=${field.error} again=${field.reload} />` : html`<${Loading} />`;
  const { numberType, shape, sizeBytes, digest, writtenAt, revision } = field.data;
  const measured = statistics.data;
  return html`<${Head} title=${`Field ${name}`} lead=${html`${enumWord(numberType, "NUMBER_TYPE_")} of <a href=${to(["lattices", latticeId], { field: name })}>the lattice ${shapeText(shape)}</a>, written <${Time} at=${writtenAt} />.`}>
      <a class="button second" href=${to(["lattices", latticeId], { field: name })}>Look at it</a>
      ${may("lattices.write") && html`<${Confirmed} label="Delete" title=${`Delete ${name}`} question=${html`<p>Its numbers are gone; the lattice stays.</p>`} act=${() => call("DELETE", path)} done=${() => go(to(["lattices", latticeId]))} />`}
    <//>
    <${Facts} of=${[["Revision", count(revision)], ["Size", bytes(sizeBytes)], ["Digest", html`<code>${digest}</code>`], ...(measured ? [["Least", number(measured.low)], ["Greatest", number(measured.high)], ["Mean", number(measured.mean)], ["Variance", number(measured.variance)]] : [])]} />
    ${measured?.histogram && html`<${Chart} label="Histogram" isTime=${false} times=${measured.histogram.edges.slice(0, -1)} lines=${[{ label: "sites", values: measured.histogram.counts.map(Number) }]} />`}
    ${may("lattices.write") && html`<${Undo} path=${path} latticeId=${latticeId} revision=${revision} changed=${field.reload} /><h2>Transform it</h2><${Transform} path=${path} shape=${shape} revision=${revision} changed=${field.reload} />`}`;
}

/** @param {{ path: string, latticeId: string, revision: string, changed: () => void }} props */
function Undo({ path, latticeId, revision, changed }) {
  const once = useOnce();
  const action = useAction(async (/** @type {string} */ verb) => {
    const answer = await once((requestId) => post(`${path}:${verb}`, { requestId, expectedRevision: revision }), `${verb} ${revision}`);
    changed();
    return `${verb === "undo" ? "Undone" : "Done again"}: the change of revision ${count(answer.ofRevision)}${answer.byInverse ? ", by its inverse" : ""}.`;
  });
  return html`<div class="actions">
      <button type="button" class="second" disabled=${action.isRunning} onClick=${() => action.run("undo")}>Undo the last change</button>
      <button type="button" class="second" disabled=${action.isRunning} onClick=${() => action.run("redo")}>Redo the change</button>
      <a href=${to(["lattices", latticeId, "history"])}>History</a>
      <span role="status">${action.outcome}</span>
    </div>
    <${Failure} error=${action.error} />`;
}

/**
 * Steps to begin with, for a field of so many axes.
 * @param {number} axes
 * @returns {Record<string, object>}
 */
const examples = (axes) => ({
  translate: { translate: { offset: Array.from({ length: axes }, (_, axis) => (axis === axes - 1 ? 1 : 0)) } },
  reflect: { reflect: { axes: [axes - 1] } },
  quarterTurns: { quarterTurns: { rowAxis: Math.max(0, axes - 2), columnAxis: axes - 1, turns: 2 } },
  shear: { shear: { axis: axes - 1, byAxis: Math.max(0, axes - 2), factor: 1 } },
  xorKey: { xorKey: { seed: 7 } },
  scale: { scale: { factor: 2, offset: 0 } },
  normalise: { normalise: { low: 0, high: 1 } },
  threshold: { threshold: { level: 0.5, below: 0, above: 1 } },
  clip: { clip: { low: 0, high: 1 } },
  laplacian: { laplacian: {} },
  gradientMagnitude: { gradientMagnitude: {} },
  distanceTransform: { distanceTransform: {} },
});

/** @param {{ path: string, shape: string[], revision: string, changed: () => void }} props */
function Transform({ path, shape, revision, changed }) {
  const once = useOnce();
  const steps = examples(shape.length);
  const [text, setText] = useState(JSON.stringify([steps.translate], null, 2));
  const names = /** @type {[string, string][]} */ ([["", "choose one"], ...Object.keys(steps).map((name) => [name, name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)])]);
  const add = (/** @type {any} */ event) => {
    const step = steps[event.target.value];
    event.target.value = "";
    if (step) setText(JSON.stringify([...jsonOf(text || "[]", "The chain"), step], null, 2));
  };
  const act = async () => {
    const transforms = jsonOf(text, "The chain");
    const answer = await once((requestId) => post(`${path}:transform`, { transforms, requestId, expectedRevision: revision }), `${revision} ${text}`);
    changed();
    return answer;
  };
  const preview = useAction(() => drawnBy(`${path}:preview`, shape, { transforms: jsonOf(text, "The chain") }));
  return html`<${Form} label="Apply" act=${act} done=${(/** @type {any} */ answer) => html`<${Applied} answer=${answer} />`}>
    <${Select} label="Add a step" of=${names} value="" onChange=${add} />
    <${Labelled} label="The chain (JSON)" hint="Applied as one event: all of it or nothing, and only to the revision that is shown here."><textarea rows="10" spellcheck=${false} value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)}></textarea><//>
    <div class="actions"><button type="button" class="second" disabled=${preview.isRunning} onClick=${() => preview.run()}>${preview.isRunning ? "Computing …" : "Preview"}</button><span class="hint">Shows what would come out, and changes nothing.</span></div>
    <${Failure} error=${preview.error} />
    ${preview.outcome && html`<${Preview} shape=${shape} drawn=${preview.outcome} />`}
  <//>`;
}

/** What a chain would make. @param {{ shape: string[], drawn: Awaited<ReturnType<typeof drawnBy>> }} props */
function Preview({ shape, drawn: { layer, answer } }) {
  const [rows, columns] = [Number(shape.at(-2) ?? 1), Number(shape.at(-1))];
  return html`<div class="preview"><${Board} rows=${rows} columns=${columns} layers=${[layer]} isPanning=${true} label="What the chain would make of the field" />
    <${Table} label="Steps of the preview" keyOf=${(/** @type {Report} */ one) => one.transform} columns=${REPORTS} items=${answer.reports} /></div>`;
}

/** @type {import("../parts/table.js").Column<Report>[]} */
const REPORTS = [
  { title: "Step", cell: ({ transform }) => html`<b>${transform}</b>` },
  { title: "Can be undone", cell: ({ invertibility, errorBound }) => html`<${Badge} kind=${invertibility === "INVERTIBILITY_EXACT" ? "good" : ""}>${enumWord(invertibility, "INVERTIBILITY_")}<//>${errorBound ? ` within ${number(errorBound)}` : ""}` },
  { title: "In place", cell: ({ inPlace }) => (inPlace ? "yes" : "no") },
  { title: "Memory beside", isNumber: true, cell: ({ auxiliaryBytes }) => bytes(auxiliaryBytes) },
  { title: "Did not fit", isNumber: true, cell: ({ clampedCount }) => count(clampedCount) },
];

/** @param {{ answer: { reports: Report[], elapsedNs: string, beforeDigest: string } }} props */
const Applied = ({ answer }) => html`<p>Applied in ${duration(Number(answer.elapsedNs) / 1e6)}. Before it was <code>${answer.beforeDigest.slice(0, 16)}…</code></p><${Table} label="Steps that were applied" keyOf=${(/** @type {Report} */ one) => one.transform} columns=${REPORTS} items=${answer.reports} />`;
