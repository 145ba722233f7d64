// Whether the gateway answers, and how what is behind it is. Asked every ten seconds while somebody
// looks, and every two while something is away.

import { createStore } from "../parts/store.js";

/** @import { Health } from "./types.js" */
/**
 * @typedef {{ isAway: boolean, since: number, status: string, parts: Health["parts"] }} Connection
 * `since` is when it began to be so, in ms; `parts` are empty while nobody answers
 */

const CALM_MS = 10_000;
const AWAY_MS = 2_000;

export const connection = createStore(/** @type {Connection} */ ({ isAway: false, since: Date.now(), status: "", parts: {} }));

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

export function watchConnection() {
  document.addEventListener("visibilitychange", () => !document.hidden && ask());
  ask();
}

/** Nothing came back: ask at once whether it ever does. */
export function noteSilence() {
  change(true, "", {});
  schedule(AWAY_MS);
}

/** Something went wrong on the way: ask at once what is away. */
export function noteTrouble() {
  if (!connection.get().isAway) schedule(0);
}

/** @param {number} status of an answer that came */
export function noteAnswer(status) {
  if (status === 503) noteTrouble();
  if (connection.get().isAway && status < 500) schedule(0);
}

/** @param {number} ms */
function schedule(ms) {
  clearTimeout(timer);
  timer = setTimeout(ask, ms);
}

async function ask() {
  clearTimeout(timer);
  try {
    const answer = await fetch("/health", { signal: AbortSignal.timeout(5000), cache: "no-store" });
    /** @type {Health} */
    const { status, parts } = await answer.json();
    change(status !== "SERVING", status, parts);
  } catch {
    change(true, "", {});
  }
  schedule(connection.get().isAway ? AWAY_MS : document.hidden ? 6 * CALM_MS : CALM_MS);
}

/**
 * @param {boolean} isAway
 * @param {string} status
 * @param {Health["parts"]} parts
 */
function change(isAway, status, parts) {
  const last = connection.get();
  connection.set({ isAway, status, parts, since: last.isAway === isAway ? last.since : Date.now() });
}
