// Lines over time, drawn by uPlot: loaded when the first chart is shown.

import { html, useEffect, useRef } from "./html.js";
import { clockTime, number } from "./words.js";

/** @typedef {import("../vendor/uplot.js").default} Plot */
/**
 * @typedef {{ label: string, values: (number | null)[] }} Line
 */

const HEIGHT = 180;
const SPAN_S_MIN = 60;
const CLOCK_PX = 84;
/* Half of a clock may stand beyond the last line. */
const RIGHT_PX = 36;
const COLORS = ["--chart-1", "--chart-2", "--chart-3", "--chart-4"];

/**
 * @param {{ label: string, times: number[], lines: Line[], unit?: string, isTime?: boolean }} props
 *   `times` are seconds since 1970, or plain numbers where `isTime` is false
 */
export function Chart({ label, times, lines, unit = "", isTime = true }) {
  const place = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {Plot | null} */ (null));
  const data = /** @type {any} */ (atLeastTwo([times, ...lines.map((line) => line.values)]));
  const latest = useRef(data);
  latest.current = data;
  const names = lines.map((line) => line.label).join("\n");
  useEffect(() => {
    let isGone = false;
    /** @type {(() => void)[]} */
    const cleanUps = [];
    load().then((UPlot) => {
      if (isGone || !place.current) return;
      const made = new UPlot(options(place.current, names.split("\n"), unit, isTime), latest.current, place.current);
      plot.current = made;
      const resized = new ResizeObserver(([entry]) => made.setSize({ width: Math.max(100, entry.contentRect.width), height: HEIGHT }));
      resized.observe(place.current);
      const recolored = new MutationObserver(() => made.redraw(false));
      recolored.observe(document.documentElement, { attributeFilter: ["data-theme"] });
      cleanUps.push(() => resized.disconnect(), () => recolored.disconnect(), () => made.destroy());
    });
    return () => {
      isGone = true;
      plot.current = null;
      for (const clean of cleanUps) clean();
    };
  }, [names, unit, isTime]);
  useEffect(() => plot.current?.setData(data));
  const last = lines.map((line) => `${line.label} ${line.values.at(-1) ?? "unknown"} ${unit}`).join(", ");
  return html`<figure class="chart"><figcaption>${label}</figcaption><div ref=${place} role="img" aria-label=${`${label}: ${last}`}></div></figure>`;
}

/**
 * Of a single point uPlot makes an axis of years.
 * @param {(number | null)[][]} data
 */
function atLeastTwo(data) {
  return data[0].length === 1 ? data.map(([one], index) => [index ? null : Number(one) - 1, one]) : data;
}

/**
 * @param {unknown} _plot
 * @param {number} low
 * @param {number} high
 */
function withZero(_plot, low, high) {
  if (!(low < 0 || high > 0)) return [0, 1];
  return [Math.min(0, 1.1 * low), Math.max(0, 1.1 * high)];
}

/**
 * @param {unknown} _plot
 * @param {number} low
 * @param {number} high
 */
function atLeastAMinute(_plot, low, high) {
  const end = high || Date.now() / 1000;
  return [Math.min(low || end, end - SPAN_S_MIN), end];
}

/**
 * @param {unknown} _plot
 * @param {number[]} times
 */
const clockTimes = (_plot, times) => times.map(clockTime);

/**
 * What the legend says of a line: its value under the pointer, or the last one where nobody points.
 * @param {(value: number) => string} written
 * @param {boolean} [hasLast]
 */
const shownBy = (written, hasLast = true) => (/** @type {Plot} */ plot, /** @type {number | null | undefined} */ value, /** @type {number} */ line, /** @type {number | null} */ at) => {
  const shown = hasLast && at === null ? plot.data[line].at(-1) : value;
  return shown === null || shown === undefined ? "–" : written(shown);
};

/** @returns {Promise<typeof import("../vendor/uplot.js").default>} */
async function load() {
  if (!document.querySelector("link[href$='uplot.css']")) {
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/console/vendor/uplot.css" }));
  }
  return (await import("../vendor/uplot.js")).default;
}

/**
 * @param {HTMLElement} place
 * @param {string[]} names
 * @param {string} unit
 * @param {boolean} isTime
 * @returns {any}
 */
function options(place, names, unit, isTime) {
  const color = (/** @type {string} */ name) => () => getComputedStyle(place).getPropertyValue(name);
  const axis = { stroke: color("--faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 }, font: "12px system-ui" };
  return {
    width: Math.max(100, place.clientWidth),
    height: HEIGHT,
    padding: [null, RIGHT_PX, null, null],
    cursor: { y: false },
    legend: { live: true },
    scales: { x: { time: isTime, ...(isTime ? { range: atLeastAMinute } : {}) }, y: { range: withZero } },
    axes: [isTime ? { ...axis, space: CLOCK_PX, values: clockTimes } : axis, { ...axis, size: 64 }],
    series: [
      isTime ? { label: "Time", value: shownBy(clockTime) } : { value: shownBy(number, false) },
      ...names.map((label, index) => ({
        label: unit ? `${label}, ${unit}` : label,
        stroke: color(COLORS[index % COLORS.length]),
        width: 2,
        points: { show: false },
        value: shownBy(number, isTime),
      })),
    ],
  };
}
