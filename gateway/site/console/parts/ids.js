// Ids that are made here, so that what is asked for twice is done once.

import { CallFailed } from "../calls/api.js";
import { useRef } from "./html.js";

/**
 * A UUID that sorts by when it was made (version 7): as the event store likes its ids. Also where a page
 * is not trusted with `crypto.randomUUID`: over plain HTTP of another host than this one.
 */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setBigUint64(0, (BigInt(Date.now()) << 16n) | 0x7000n | BigInt(((bytes[6] & 0x0f) << 8) | bytes[7]));
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}

/**
 * Calls with an id each, which they keep as long as nobody knows what became of them: whoever
 * presses again after such a failure asks for the same thing, and not for a second one.
 * @returns {<T>(act: (id: string) => Promise<T>, what?: string) => Promise<T>} `what` tells apart what one page asks for
 */
export function useOnce() {
  const ids = useRef(/** @type {Record<string, string>} */ ({}));
  return async (act, what = "") => {
    ids.current[what] ??= newId();
    try {
      const answer = await act(ids.current[what]);
      delete ids.current[what];
      return answer;
    } catch (error) {
      if (error instanceof CallFailed && !error.isPassing) delete ids.current[what];
      throw error;
    }
  };
}
