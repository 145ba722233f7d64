// A stretch of the log in memory: it grows at both ends as somebody scrolls, follows what is
// appended, and gives up what is far away, so that it stays as large as it is. While nobody looks it
// reads nothing, and then goes on where it was.

import { CallFailed, get, stream } from "../calls/api.js";
import { follow } from "../calls/follow.js";
import { exactly } from "../parts/json.js";

/** @import { Query } from "../calls/api.js" */
/** @import { FollowState, Read } from "../calls/follow.js" */
/** @import { Recorded } from "../calls/types.js" */
/**
 * @typedef {{ position: string, revision: string, at: string, stream: string, type: string, gist: string, text: string, isGone: boolean }} Row
 * @typedef {{ kind: "newest" | "oldest" | "position" | "revision" | "time", value?: string }} Place
 */

const PAGE_ROWS = 200;
const ROWS_MAX = 4000;
const CHARS_MAX = 64_000_000;
const BEHIND_MAX = 5000n;
const FRAME_MS = 100;
const GIST_CHARS = 160;
/* JavaScript may round it. */
const LONG_NUMBER = /[0-9]{16}/;

export class EventWindow {
  /** @type {Row[]} */
  rows = [];
  /** How far its first row has moved: more when rows are given up above, less when some are added. */
  top = 0;
  isAtOldest = false;
  isAtNewest = false;
  isLoading = false;
  isFollowing = false;
  /** @type {FollowState} */
  state = "connecting";
  /** @type {unknown} */
  error = null;
  /** The log is another one than was read. */
  isReplaced = false;

  #path;
  #query;
  #changed;
  #chars = 0;
  /** Up to where everything is in its rows, or was there and is not wanted. */
  #place = "0";
  /** @type {((signal: AbortSignal) => Promise<void>) | null} what is being read, or could not be: to be done again */
  #unfinished = null;
  #reading = new AbortController();
  #following = new AbortController();
  /** @type {Read[]} */
  #arrived = [];
  #isDrawing = false;
  #drawnAt = 0;

  /**
   * @param {string} path
   * @param {Query} query what is wanted, without a place
   * @param {() => void} changed told after each change, some of them together
   */
  constructor(path, query, changed) {
    this.#path = path;
    this.#query = query;
    this.#changed = changed;
  }

  /**
   * Shows another place.
   * @param {Place} place
   * @param {boolean} isFollowing whether to follow once the newest event is shown
   */
  async open(place, isFollowing) {
    this.close();
    this.#reading = new AbortController();
    this.#empty();
    Object.assign(this, { isAtOldest: false, isAtNewest: false, error: null, isFollowing });
    await this.#load(async (signal) => {
      if (place.kind === "newest") await this.#openNewest(signal);
      else await this.#openAt(place, signal);
    });
  }

  /** What could not be read may be read later. */
  get mayGoOn() {
    return !this.isLoading && this.#unfinished !== null && this.error instanceof CallFailed && this.error.isPassing;
  }

  /** Lets go of all connections, for good or until `wake`. */
  close() {
    this.#reading.abort();
    this.#following.abort();
    this.isLoading = false;
    // What has arrived counts as read: it is shown when somebody looks again.
    this.#flush();
  }

  /**
   * Goes on where it was: somebody looks again, or what was away is back.
   * @param {boolean} isPinned whether the newest event is to be in sight, wherever it is by now
   */
  async wake(isPinned) {
    this.close();
    this.#reading = new AbortController();
    const { signal } = this.#reading;
    if (this.#unfinished) await this.#load(this.#unfinished);
    if (this.isAtNewest && this.isFollowing && this.#following.signal.aborted && !signal.aborted) await this.#load((again) => this.#goOn(isPinned, again));
    this.#change();
  }

  #empty() {
    Object.assign(this, { rows: [], top: 0, isReplaced: false });
    this.#chars = 0;
    this.#arrived = [];
  }

  /** @param {AbortSignal} signal */
  async #openNewest(signal) {
    const head = (await headOf(signal)) || "0";
    const rows = head === "0" ? [] : await this.#read({ direction: "DIRECTION_BACKWARDS", fromPosition: head, limit: PAGE_ROWS }, signal);
    this.#empty();
    this.#append(rows.reverse());
    this.#place = head;
    this.isAtOldest = rows.length < PAGE_ROWS;
    this.#reachNewest();
  }

  /**
   * @param {Place} place
   * @param {AbortSignal} signal
   */
  async #openAt({ kind, value = "" }, signal) {
    const from = { oldest: {}, newest: {}, position: { fromPosition: value }, revision: { fromRevision: value }, time: { fromTime: value } }[kind];
    const head = await headOf(signal);
    const rows = await this.#read({ ...from, limit: PAGE_ROWS }, signal);
    this.isAtOldest = kind === "oldest" || value === "1" || value === "0";
    this.#append(rows);
    this.#place = rows.at(-1)?.position ?? head;
    if (rows.length < PAGE_ROWS) this.#reachNewest();
  }

  older() {
    if (this.isAtOldest || this.isLoading || !this.rows.length) return;
    this.#load(async (signal) => {
      const before = BigInt(this.rows[0].position) - 1n;
      const rows = before < 1n ? [] : await this.#read({ direction: "DIRECTION_BACKWARDS", fromPosition: String(before), limit: PAGE_ROWS }, signal);
      this.isAtOldest = rows.length < PAGE_ROWS;
      this.#prepend(rows.reverse());
    });
  }

  newer() {
    if (this.isAtNewest || this.isLoading) return;
    this.#load((signal) => this.#readOn(signal));
  }

  /** @param {AbortSignal} signal */
  async #readOn(signal) {
    const rows = await this.#read({ fromPosition: String(BigInt(this.#place) + 1n), limit: PAGE_ROWS }, signal);
    this.#append(rows);
    this.#place = rows.at(-1)?.position ?? this.#place;
    this.isAtNewest = false;
    if (rows.length < PAGE_ROWS) this.#reachNewest();
  }

  pause() {
    this.isFollowing = false;
    this.#following.abort();
    this.#flush();
    this.isAtNewest = false;
    this.#change();
  }

  /** Follows, from where it was; from the newest event where too much has happened meanwhile. */
  async resume() {
    this.isFollowing = true;
    // What is being read leads to the newest event, or somebody scrolls there.
    if (this.isLoading) this.#change();
    else await this.#load((signal) => this.#goOn(true, signal));
  }

  /**
   * @param {boolean} isPinned as `wake` has it
   * @param {AbortSignal} signal
   */
  async #goOn(isPinned, signal) {
    const head = await headOf(signal);
    const isFar = BigInt(head) - BigInt(this.#place) > BEHIND_MAX;
    if (!isFar) this.#reachNewest();
    else if (isPinned) await this.#openNewest(signal);
    else await this.#readOn(signal);
  }

  #reachNewest() {
    this.isAtNewest = true;
    if (!this.isFollowing) return;
    this.#following.abort();
    this.#following = new AbortController();
    this.state = "connecting";
    const handlers = {
      read: (/** @type {Read[]} */ events, /** @type {string} */ place) => {
        this.#arrived.push(...events);
        this.#place = place || this.#place;
        this.#change();
      },
      state: (/** @type {FollowState} */ state, /** @type {unknown} */ error) => {
        this.state = state;
        this.error = error;
        this.#change();
      },
      replaced: () => {
        this.isReplaced = true;
        this.#change();
      },
    };
    follow(this.#path, this.#query, this.#place, handlers, this.#following.signal);
  }

  /** @param {(signal: AbortSignal) => Promise<void>} act */
  async #load(act) {
    const { signal } = this.#reading;
    this.isLoading = true;
    this.#unfinished = act;
    this.#change();
    try {
      await act(signal);
      this.error = null;
    } catch (error) {
      if (!signal.aborted) this.error = error;
    }
    // Whoever aborted it has begun something else, or has it done again.
    if (signal.aborted) return;
    if (!this.error) this.#unfinished = null;
    this.isLoading = false;
    this.#change();
  }

  /**
   * @param {Query} place
   * @param {AbortSignal} signal
   */
  async #read(place, signal) {
    /** @type {Row[]} */
    const rows = [];
    for await (const { text } of stream("GET", this.#path, { query: { ...this.#query, ...place, includeGone: true }, signal })) {
      rows.push(rowOf(JSON.parse(text), text));
    }
    return rows;
  }

  /** @param {Row[]} rows */
  #append(rows) {
    this.rows = this.rows.concat(rows);
    this.#chars += sum(rows);
    let first = 0;
    while (this.rows.length - first > ROWS_MAX || (this.#chars > CHARS_MAX && this.rows.length - first > 1)) this.#chars -= this.rows[first++].text.length;
    if (!first) return;
    this.rows = this.rows.slice(first);
    this.top += first;
    this.isAtOldest = false;
  }

  /** @param {Row[]} rows */
  #prepend(rows) {
    this.rows = [...rows, ...this.rows];
    this.top -= rows.length;
    this.#chars += sum(rows);
    let end = this.rows.length;
    while (end > ROWS_MAX || (this.#chars > CHARS_MAX && end > 1)) this.#chars -= this.rows[--end].text.length;
    if (end === this.rows.length) return;
    this.rows = this.rows.slice(0, end);
    this.#place = this.rows[end - 1].position;
    this.#following.abort();
    this.#arrived = [];
    this.isAtNewest = false;
  }

  #flush() {
    if (!this.#arrived.length) return;
    this.#append(this.#arrived.map(({ event, text }) => rowOf(event, text)));
    this.#arrived = [];
  }

  #change() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    const draw = () => {
      this.#isDrawing = false;
      this.#drawnAt = performance.now();
      this.#flush();
      this.#changed();
    };
    // Where much comes, some of it is drawn together.
    const waitMs = this.#drawnAt + FRAME_MS - performance.now();
    if (waitMs > 0) setTimeout(() => requestAnimationFrame(draw), waitMs);
    else requestAnimationFrame(draw);
  }
}

/** @param {AbortSignal} signal */
async function headOf(signal) {
  return (await get("/v1/log", {}, signal)).headPosition;
}

/**
 * @param {Recorded} recorded
 * @param {string} text
 * @returns {Row}
 */
export function rowOf({ position, revision, recordedAt, event, gone }, text) {
  const json = LONG_NUMBER.test(text) ? /** @type {any} */ (exactly(text)).event.json : event.json;
  const body = json !== undefined && json !== null ? JSON.stringify(json) : event.binary ? `${event.contentType || "bytes"}` : "";
  const gist = gone ? "" : body.slice(0, GIST_CHARS);
  return { position, revision, at: recordedAt, stream: event.stream, type: event.type, gist, text, isGone: Boolean(gone) };
}

/** @param {Row[]} rows */
const sum = (rows) => rows.reduce((total, row) => total + row.text.length, 0);
