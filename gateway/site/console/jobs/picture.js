// What a simulation looks like while it goes on, and what it has left.

import { CallFailed } from "../calls/api.js";
import { countedMs } from "../calls/identity.js";
import { Failure } from "../parts/basics.js";
import { html, useEffect, useState } from "../parts/html.js";
import { count } from "../parts/words.js";
import { Board } from "../lattices/board.js";
import { drawnBy, drawSlice, findLattice } from "../lattices/calls.js";

/** @import { Job } from "./list.js" */
/** @import { Layer } from "../lattices/board.js" */
/** @typedef {{ layer: Layer, stepsDone: string }} Drawn */

const FRAME_MS = 100;
const PAUSE_MS = 700;
const NOT_YET = new Set(["JOB_NOT_BEGUN", "JOB_ENDED"]);

/** Of a job in one state. @param {{ job: Job }} props */
export function Picture({ job }) {
  const [shape, setShape] = useState(/** @type {string[]} */ ([]));
  const [drawn, setDrawn] = useState(/** @type {Drawn | null} */ (null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const hasBegun = Number(job.progress.stepsDone) > 0;
  useEffect(() => {
    if (!hasBegun) return;
    const aborting = new AbortController();
    watch(job, aborting.signal, setShape, setDrawn).catch((failure) => !aborting.signal.aborted && setError(failure));
    return () => aborting.abort();
  }, [job.jobId, hasBegun]);
  if (error) return html`<${Failure} error=${error} />`;
  if (!drawn) return null;
  const [rows, columns] = [Number(shape.at(-2) ?? 1), Number(shape.at(-1))];
  return html`<div class="live"><${Board} rows=${rows} columns=${columns} layers=${[drawn.layer]} isPanning=${true} label=${`The state after ${drawn.stepsDone} steps`} />
    <p class="hint">The state after ${count(drawn.stepsDone)} steps${shape.length > 2 ? ", the first slice of it" : ""}.</p></div>`;
}

/**
 * Draws a job again and again while it runs and somebody looks, and else once.
 * @param {Job} job
 * @param {AbortSignal} signal
 * @param {(shape: string[]) => void} setShape
 * @param {(drawn: Drawn) => void} setDrawn
 */
async function watch(job, signal, setShape, setDrawn) {
  if (job.state === "JOB_STATE_FAILED" || (job.state === "JOB_STATE_SUCCEEDED" && !job.resultField)) return;
  const { shape } = await findLattice(job.latticeId, signal);
  setShape(shape);
  const draw = job.state === "JOB_STATE_SUCCEEDED" ? drawResult : drawState;
  const isStill = job.state === "JOB_STATE_SUCCEEDED" || job.state === "JOB_STATE_CANCELLED";
  do {
    const began = performance.now();
    const drawn = document.hidden && !isStill ? null : await draw(job, shape, signal);
    if (signal.aborted) return;
    if (drawn) setDrawn(drawn);
    if (isStill) return;
    await new Promise((resolve) => setTimeout(resolve, countedMs(pauseMs(Boolean(drawn), performance.now() - began))));
  } while (!signal.aborted);
}

/**
 * Ten pictures a second, one after the other: fewer where one takes long.
 * @param {boolean} isDrawn
 * @param {number} tookMs
 */
const pauseMs = (isDrawn, tookMs) => (isDrawn ? Math.max(FRAME_MS - tookMs, 0) : PAUSE_MS);

/**
 * Null where there is nothing to see yet.
 * @param {Job} job
 * @param {string[]} shape
 * @param {AbortSignal} signal
 * @returns {Promise<Drawn | null>}
 */
async function drawState(job, shape, signal) {
  try {
    const { layer, answer } = await drawnBy(`/v1/jobs/${encodeURIComponent(job.jobId)}:render`, shape, {}, signal);
    return { layer, stepsDone: answer.stepsDone };
  } catch (error) {
    if (error instanceof CallFailed && (error.isPassing || NOT_YET.has(error.reason))) return null;
    throw error;
  }
}

/**
 * @param {Job} job
 * @param {string[]} shape
 * @param {AbortSignal} signal
 * @returns {Promise<Drawn>}
 */
async function drawResult(job, shape, signal) {
  const [rows, columns] = [Number(shape.at(-2) ?? 1), Number(shape.at(-1))];
  const slice = { rowAxis: shape.length > 1 ? shape.length - 2 : null, columnAxis: shape.length - 1, at: shape.map(() => 0) };
  const area = { row: 0, column: 0, rows: Math.min(rows, 2048), columns: Math.min(columns, 2048) };
  return { layer: await drawSlice(job.latticeId, slice, area, { field: job.resultField, colorMap: "COLOR_MAP_VIRIDIS" }, signal), stepsDone: job.progress.stepsDone };
}
