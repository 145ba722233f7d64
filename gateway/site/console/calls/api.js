// The one client of the API: JSON, bytes and streams, with a token, and failures by name.

import { events } from "../../shared/lines.js";
import { bearer, forget, session } from "../../shared/session.js";
import { exactly } from "../parts/json.js";
import { noteAnswer, noteSilence, noteTrouble } from "./connection.js";

/** @import { Entry } from "../../shared/lines.js" */
/** @typedef {Record<string, string | number | boolean | undefined | (string | number)[]>} Query */
/** @typedef {{ query?: Query, body?: unknown, bytes?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal }} Asked */

const CALL_MS_MAX = 60_000;
const PASSING = new Set(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "UNREADABLE"]);

/** A call that was not answered as asked. */
export class CallFailed extends Error {
  /**
   * @param {number} status 0 where no answer came
   * @param {import("./types.js").ErrorBody} error
   */
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.reason = error.details?.reason ?? error.code;
    this.details = error.details ?? {};
    this.correlationId = error.correlation_id ?? "";
  }

  /** Whether the same call may succeed later: nothing was wrong with it. */
  get isPassing() {
    return this.status === 0 || PASSING.has(this.code);
  }
}

/**
 * @param {string} path
 * @param {Query} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export const get = (path, query, signal) => call("GET", path, { query, signal });

/**
 * The same, with each number as it was written: of what people wrote, as metadata and schemas.
 * @param {string} path
 * @param {Query} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export const getExactly = async (path, query, signal) => exactly(await (await send("GET", path, { query, signal }, "application/json")).text());

/**
 * @param {string} path
 * @param {unknown} [body]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export const post = (path, body = {}, signal) => call("POST", path, { body, signal });

/**
 * What a call answers, as JSON.
 * @param {string} method
 * @param {string} path
 * @param {Asked} [asked]
 * @returns {Promise<any>}
 */
export async function call(method, path, asked = {}) {
  const answer = await send(method, path, asked, "application/json");
  const text = await answer.text();
  return text ? JSON.parse(text) : {};
}

/**
 * What a call answers, as it is.
 * @param {string} method
 * @param {string} path
 * @param {Asked} [asked]
 */
export async function download(method, path, asked = {}) {
  return (await send(method, path, asked, "*/*")).blob();
}

/**
 * The events of a stream, one after the other. A failure on the way is thrown as one before it.
 * @param {string} method
 * @param {string} path
 * @param {Asked} [asked]
 * @returns {AsyncGenerator<Entry>}
 */
export async function* stream(method, path, asked = {}) {
  const answer = await send(method, path, asked, "text/event-stream");
  if (!answer.body) return;
  try {
    for await (const entry of events(answer.body)) {
      if (entry.name === "end") return;
      if (entry.isError) throw new CallFailed(answer.status, JSON.parse(entry.text).error);
      yield entry;
    }
  } catch (error) {
    if (error instanceof CallFailed || asked.signal?.aborted) throw error;
    noteTrouble();
    throw new CallFailed(0, { code: "NO_ANSWER", message: "The answer broke off." });
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {Asked} asked
 * @param {string} accept
 */
async function send(method, path, asked, accept) {
  let answer = await sendOnce(method, path, asked, accept, await token());
  if (answer.status === 401 && session.refresh) answer = await sendOnce(method, path, asked, accept, await token(true));
  noteAnswer(answer.status);
  if (answer.ok) return answer;
  if (answer.status === 401) forget();
  throw new CallFailed(answer.status, await errorOf(answer));
}

/** @param {boolean} [isRefused] */
async function token(isRefused) {
  try {
    return await bearer(isRefused);
  } catch {
    noteTrouble();
    throw new CallFailed(0, { code: "NO_ANSWER", message: "The session cannot be renewed just now." });
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {Asked} asked
 * @param {string} accept
 * @param {string} token
 */
async function sendOnce(method, path, { query = {}, body, bytes, headers = {}, signal }, accept, token) {
  const isStream = accept === "text/event-stream";
  const limits = [...(signal ? [signal] : []), ...(isStream ? [] : [AbortSignal.timeout(CALL_MS_MAX)])];
  try {
    return await fetch(`${path}${written(query)}`, {
      method,
      headers: {
        Accept: accept,
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? bytes : JSON.stringify(body),
      signal: AbortSignal.any(limits),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    noteSilence();
    throw new CallFailed(0, { code: "NO_ANSWER", message: "The gateway does not answer." });
  }
}

/** @param {Query} query */
function written(query) {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === "" || value === false) continue;
    for (const one of [value].flat()) pairs.append(name, String(one));
  }
  const text = pairs.toString();
  return text ? `?${text}` : "";
}

/**
 * @param {Response} answer
 * @returns {Promise<import("./types.js").ErrorBody>}
 */
async function errorOf(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return { code: "UNREADABLE", message: `The answer ${answer.status} cannot be read.` };
  }
}
