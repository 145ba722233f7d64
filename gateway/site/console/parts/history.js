// The last values of something that is measured again and again, for charts.

import { useState } from "./html.js";

/** @typedef {{ times: number[], values: Record<string, (number | null)[]> }} History */

const POINTS_MAX = 300;

/**
 * @returns {[History, (values: Record<string, number | null>) => void]} what was noted, the oldest
 *   first and never more than 300 points, and how to note more
 */
export function useHistory() {
  const [history, setHistory] = useState(/** @type {History} */ ({ times: [], values: {} }));
  const note = (/** @type {Record<string, number | null>} */ values) =>
    setHistory((last) => ({
      times: [...last.times, Date.now() / 1000].slice(-POINTS_MAX),
      values: Object.fromEntries(Object.entries(values).map(([name, value]) => [name, [...(last.values[name] ?? last.times.map(() => null)), value].slice(-POINTS_MAX)])),
    }));
  return [history, note];
}
