// One simulation, watched live: how far it is, and its observables plotted as they come.

import { call, download, post, stream } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Facts, Failure, Head, Loading, Time } from "../parts/basics.js";
import { Chart } from "../parts/chart.js";
import { Confirmed } from "../parts/dialogs.js";
import { html, useEffect, useState } from "../parts/html.js";
import { Tree } from "../parts/json.js";
import { useAction, useIsSeen, useLoad } from "../parts/load.js";
import { to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { bytes, count, duration, number } from "../parts/words.js";
import { modelOf, share, State } from "./list.js";
import { Picture } from "./picture.js";

/** @import { Job, Observable } from "./list.js" */
/** @typedef {{ steps: number[], names: string[], columns: (number | null)[][] }} Series */

const PAUSE_MS = 1000;
const LIVE_POINTS_MAX = 2000;
const ENDED = new Set(["JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"]);

/** @param {{ jobId: string }} props */
export function Page({ jobId }) {
  const may = useMay();
  const path = `/v1/jobs/${encodeURIComponent(jobId)}`;
  const { job, live, error, again } = useWatched(path);
  const hasEnded = job !== null && ENDED.has(job.state);
  const { data: kept } = useLoad(async () => (hasEnded ? readSeries(path) : null), [path, hasEnded, job?.endedAt]);
  const act = useAction(async (/** @type {string} */ verb) => {
    await post(`${path}:${verb}`);
    again();
  });
  if (!job) return error ? html`<${Failure} error=${error} again=${again} />` : html`<${Loading} />`;
  const series = kept?.steps.length ? kept : live;
  const model = modelOf(job).replace(/^./, (letter) => letter.toUpperCase());
  return html`<${Head} title=${model} lead=${html`<${State} job=${job} /> on <a href=${to(["lattices", job.latticeId])}>this lattice</a>`}>
      ${may("lattices.write") && job.state === "JOB_STATE_CANCELLED" && html`<button type="button" disabled=${act.isRunning} onClick=${() => act.run("continue")}>Go on</button>`}
      ${may("lattices.write") && !hasEnded && html`<${Confirmed} label="Stop" isDanger=${false} title="Stop this job" question=${html`<p>What it has done is kept, and it may be gone on with.</p>`} act=${() => call("POST", `${path}:cancel`, { body: {} })} done=${again} />`}
    <//>
    <${Failure} error=${act.error ?? error} again=${again} />
    ${job.failure && html`<div class="failure"><p><b>${job.failure}</b></p></div>`}
    <p class="line"><progress max="1" value=${share(job)} aria-label="Steps taken"></progress> <span role="status">${count(job.progress.stepsDone)} of ${count(job.steps)} steps${job.progress.leftS ? `, about ${duration(1000 * job.progress.leftS)} left` : ""}</span></p>
    ${!job.transform && html`<${Picture} key=${job.state} job=${job} />`}
    ${!job.transform && html`<${Table} label="Observables" keyOf=${(/** @type {Observable} */ one) => one.name} columns=${OBSERVABLES} items=${job.progress.observables} empty=${html`<p class="hint">Nothing is recorded yet.</p>`} />`}
    ${series && series.steps.length > 1 && series.names.map((name, index) => html`<${Chart} key=${name} label=${`${name} by step`} isTime=${false} times=${series.steps} lines=${[{ label: name, values: series.columns[index] }]} />`)}
    ${job.resultField && job.state === "JOB_STATE_SUCCEEDED" && html`<p><a class="button" href=${to(["lattices", job.latticeId], { field: job.resultField })}>Look at the result</a></p>`}
    <h2>About it</h2>
    <${Facts} of=${[
      ["Seed", count(job.seed)],
      ["Speed", job.progress.stepsPerS ? `${number(job.progress.stepsPerS)} steps a second` : ""],
      ["Took", duration(1000 * job.progress.elapsedS)],
      ["Updates of sites", count(job.updates)],
      ["Memory", bytes(job.sizeBytes)],
      ["Started", html`<${Time} at=${job.startedAt} full=${true} />`],
      ["By", job.startedBy],
      ["Ended", job.endedAt ? html`<${Time} at=${job.endedAt} full=${true} />` : ""],
      job.transform ? ["Transforms", html`<${Tree} value=${job.transform.transforms} />`] : ["Model", html`<${Tree} value=${job.simulation} />`],
    ]} />`;
}

/** @param {number | undefined} value */
const written = (value) => (value === undefined ? "" : number(value));

/** @type {import("../parts/table.js").Column<Observable>[]} */
const OBSERVABLES = [
  { title: "Observable", cell: ({ name }) => html`<b>${name}</b>` },
  { title: "Last", isNumber: true, cell: ({ last }) => written(last) },
  { title: "Mean", isNumber: true, cell: ({ mean }) => written(mean) },
  { title: "Error of the mean", isNumber: true, cell: ({ error }) => written(error) },
  { title: "Records", isNumber: true, cell: ({ records }) => count(records) },
];

/**
 * A job as it goes on, and what its observables were each time something new was told.
 * @param {string} path
 */
function useWatched(path) {
  const [state, setState] = useState(/** @type {{ job: Job | null, live: Series | null, error: unknown }} */ ({ job: null, live: null, error: null }));
  const [round, setRound] = useState(0);
  // A tab that is put aside keeps no connection: browsers open six to a host.
  const isSeen = useIsSeen();
  useEffect(() => {
    if (!isSeen) return;
    const aborting = new AbortController();
    watch(path, aborting.signal, (job) => setState((last) => ({ job, live: grown(last.live, job), error: null }))).catch((error) => !aborting.signal.aborted && setState((last) => ({ ...last, error })));
    return () => aborting.abort();
  }, [path, round, isSeen]);
  return { ...state, again: () => setRound((last) => last + 1) };
}

/**
 * @param {string} path
 * @param {AbortSignal} signal
 * @param {(job: Job) => void} changed
 */
async function watch(path, signal, changed) {
  for (;;) {
    try {
      let isOver = false;
      for await (const { text } of stream("GET", `${path}/progress`, { signal })) {
        const { job } = JSON.parse(text);
        isOver = ENDED.has(job.state);
        changed(job);
      }
      if (isOver) return;
    } catch (error) {
      if (signal.aborted || !(/** @type {any} */ (error).isPassing)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/**
 * @param {Series | null} series
 * @param {Job} job
 * @returns {Series | null}
 */
function grown(series, { progress: { stepsDone, observables } }) {
  if (!observables.length || Number(stepsDone) === series?.steps.at(-1)) return series;
  const names = observables.map(({ name }) => name);
  return {
    names,
    steps: [...(series?.steps ?? []), Number(stepsDone)].slice(-LIVE_POINTS_MAX),
    columns: observables.map(({ last = null }, index) => [...(series?.columns[index] ?? []), last].slice(-LIVE_POINTS_MAX)),
  };
}

/**
 * All records of a job, as it keeps them.
 * @param {string} path
 * @returns {Promise<Series>}
 */
async function readSeries(path) {
  const [head, ...rows] = (await (await download("GET", `${path}/series`)).text()).trim().split(/\r?\n/);
  const numbers = rows.map((row) => row.split(",").map(Number));
  return { names: head.split(",").slice(1), steps: numbers.map(([step]) => step), columns: head.split(",").slice(1).map((_, index) => numbers.map((row) => row[index + 1])) };
}
