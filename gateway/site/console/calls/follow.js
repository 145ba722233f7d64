// Reads a log live: goes on where it was when a connection ends, for whatever reason, until told
// to stop. Each event comes once, in order.

import { CallFailed, stream } from "./api.js";

/** @import { Query } from "./api.js" */
/** @import { Recorded } from "./types.js" */
/**
 * @typedef {"connecting" | "live" | "behind" | "away" | "stopped"} FollowState
 * @typedef {{ event: Recorded, text: string }} Read
 */

const PAUSE_MS_MIN = 250;
const PAUSE_MS_MAX = 5_000;
const SILENCE_MS_MAX = 15_000;
const LOOK_MS = 1_000;
const HEARTBEAT = "5s";

/**
 * @param {string} path
 * @param {Query} query what is wanted, without a place to begin
 * @param {string} after the position behind which to begin
 * @param {{ read: (events: Read[], place: string) => void, state: (state: FollowState, error: unknown) => void, replaced: () => void }} handlers
 *   `place` is up to where all was read; `replaced`: the log is another one than was read
 * @param {AbortSignal} signal
 */
export async function follow(path, query, after, handlers, signal) {
  let pauseMs = PAUSE_MS_MIN;
  const place = { position: after, incarnation: "" };
  while (!signal.aborted) {
    try {
      handlers.state("connecting", null);
      await readOn(path, query, place, handlers, signal, () => {
        pauseMs = PAUSE_MS_MIN;
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof CallFailed && (error.reason === "LOG_REPLACED" || error.reason === "BEYOND_END")) {
        handlers.replaced();
        return;
      }
      if (error instanceof CallFailed && !error.isPassing && error.reason !== "TOKEN_EXPIRED") {
        handlers.state("stopped", error);
        return;
      }
      handlers.state("away", error);
      await pause(pauseMs * (0.5 + Math.random()), signal);
      pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
    }
  }
}

/**
 * One connection, until it ends.
 * @param {string} path
 * @param {Query} query
 * @param {{ position: string, incarnation: string }} place
 * @param {Parameters<typeof follow>[3]} handlers
 * @param {AbortSignal} signal
 * @param {() => void} cameThrough
 */
async function readOn(path, query, place, handlers, signal, cameThrough) {
  const connection = new AbortController();
  const stop = () => connection.abort();
  signal.addEventListener("abort", stop);
  let lastAt = performance.now();
  // One timer for all that comes: to set one for each of hundreds a second costs more than to read them.
  const timer = setInterval(() => performance.now() - lastAt > SILENCE_MS_MAX && stop(), LOOK_MS);
  try {
    const asked = {
      ...query,
      follow: true,
      progress: true,
      heartbeat: HEARTBEAT,
      fromPosition: String(BigInt(place.position) + 1n),
      incarnation: place.incarnation,
    };
    for await (const { name, id, text } of stream("GET", path, { query: asked, signal: connection.signal })) {
      lastAt = performance.now();
      cameThrough();
      const [position, incarnation = ""] = id.split("-", 2);
      if (name === "heartbeat") handlers.state("live", null);
      else if (name === "caughtUp") handlers.state("live", null);
      else if (name === "fellBehind") handlers.state("behind", null);
      else if (name !== "checkpoint") handlers.read([{ event: JSON.parse(text), text }], position);
      if (position) Object.assign(place, { position, incarnation });
    }
  } catch (error) {
    if (connection.signal.aborted && !signal.aborted) throw new CallFailed(0, { code: "NO_ANSWER", message: "Nothing came for 15 seconds." });
    throw error;
  } finally {
    clearInterval(timer);
    signal.removeEventListener("abort", stop);
    connection.abort();
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}
