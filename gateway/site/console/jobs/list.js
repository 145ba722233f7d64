// Which simulations wait, run or have ended.

import { get } from "../calls/api.js";
import { Badge, Empty, Head, Time } from "../parts/basics.js";
import { html } from "../parts/html.js";
import { usePages } from "../parts/load.js";
import { to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { count, duration, enumWord } from "../parts/words.js";

/**
 * @typedef {{ name: string, records: string, last?: number, mean?: number, error?: number }} Observable
 * @typedef {{ jobId: string, latticeId: string, simulation: Record<string, any>, transform?: { field: string, transforms: Record<string, any>[] }, labelsComponents?: boolean, steps: string, seed: string, state: string, resultField: string,
 *   progress: { stepsDone: string, elapsedS: number, stepsPerS: number, leftS: number, observables: Observable[] }, isCancelling: boolean,
 *   failure: string, resultDigest: string, updates: string, sizeBytes: string, startedBy: string, startedAt: string, endedAt?: string, recordEvery: string }} Job
 */

const EVERY_MS = 3000;

/** @param {{ job: Job }} props */
export function State({ job }) {
  const kind = { JOB_STATE_RUNNING: "warn", JOB_STATE_SUCCEEDED: "good", JOB_STATE_FAILED: "bad" }[job.state] ?? "";
  return html`<${Badge} kind=${kind}>${job.isCancelling && job.state === "JOB_STATE_RUNNING" ? "stopping" : enumWord(job.state, "JOB_STATE_")}<//>`;
}

/** @param {Job} job */
export const share = (job) => Number(job.progress.stepsDone) / Math.max(1, Number(job.steps));

/**
 * What a job does in words: `cellularAutomaton` becomes "cellular automaton".
 * @param {Job} job
 */
export function modelOf({ simulation, transform, labelsComponents }) {
  if (transform) return `transform of ${transform.field || "blocked sites"}`;
  if (labelsComponents) return "component labels";
  const name = Object.keys(simulation).find((one) => typeof simulation[one] === "object" && simulation[one] !== null) ?? "";
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** @type {import("../parts/table.js").Column<Job>[]} */
const COLUMNS = [
  { title: "Model", cell: (job) => html`<a href=${to(["jobs", job.jobId])}>${modelOf(job)}</a>` },
  { title: "State", cell: (job) => html`<${State} job=${job} />` },
  { title: "Steps", cell: (job) => html`<progress max="1" value=${share(job)} aria-label="Steps taken"></progress> <span class="whole">${count(job.progress.stepsDone)} of ${count(job.steps)}</span>` },
  { title: "Left", isNumber: true, cell: ({ progress }) => (progress.leftS ? duration(1000 * progress.leftS) : "") },
  { title: "Lattice", cell: ({ latticeId }) => html`<a href=${to(["lattices", latticeId])}>show it</a>` },
  { title: "Started", cell: ({ startedAt }) => html`<${Time} at=${startedAt} />` },
];

export function Page() {
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { jobs, nextPageToken } = await get("/v1/jobs", { pageToken }, signal);
    return { items: /** @type {Job[]} */ (jobs), next: nextPageToken };
  };
  const pages = usePages(find, [], { everyMs: EVERY_MS });
  const empty = html`<${Empty} title="There are no jobs"><p>A job simulates on a lattice: spins, Life, diffusion, walks. Open <a href="#/lattices">a lattice</a>, and choose Simulate.</p><//>`;
  return html`<${Head} title="Jobs" lead="Simulations on lattices, the newest first. They go on whatever process dies." />
    <${Table} label="Jobs" columns=${COLUMNS} keyOf=${(/** @type {Job} */ one) => one.jobId} ...${pages} empty=${empty} />`;
}
