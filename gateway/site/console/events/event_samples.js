// An event as the call that appends one like it: for a shell and for a Python program.

import { LANGUAGES } from "../../shared/samples.js";
import { exactly } from "../parts/json.js";

/** @import { Recorded } from "../calls/types.js" */

/**
 * A recorded event as it was sent, over several lines, with each number digit by digit.
 * @param {string} text
 */
export const printed = (text) => JSON.stringify(exactly(text), null, 2);

/** @param {string} text of a recorded event */
export const asCurl = (text) => LANGUAGES.curl(callOf(text));

/** @param {string} text of a recorded event */
export const asPython = (text) => LANGUAGES.Python(callOf(text));

/**
 * @param {string} text
 * @returns {import("../../shared/samples.js").Call}
 */
function callOf(text) {
  const { id: _id, stream, type, ...rest } = /** @type {{ event: Recorded["event"] }} */ (exactly(text)).event;
  const filled = Object.entries(rest).filter(([, value]) => !isEmpty(value));
  const body = JSON.stringify({ events: [{ stream, type, ...Object.fromEntries(filled) }] }, null, 2);
  return { operationId: "EventStoreService_Append", method: "POST", url: "/v1/events:append", headers: { "Content-Type": "application/json" }, values: {}, body, isStream: false, isPublic: false };
}

/** @param {unknown} value */
const isEmpty = (value) => value === "" || value === 0 || value === null || value === undefined || (Array.isArray(value) && !value.length);
