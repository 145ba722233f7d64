// A canvas of sites: zoomed and panned, with layers above each other, and sites that are pointed at
// with a mouse, a finger or the arrows.

import { html, useEffect, useLayoutEffect, useRef, useState } from "../parts/html.js";

/** @import { Place } from "./sites.js" */
/** @typedef {{ row: number, column: number, rows: number, columns: number }} Area in sites */
/** @typedef {{ image: CanvasImageSource, area: Area, painted?: { place: Place, color: string }[] }} Layer `painted` are sites of it that have changed, and are taken out once they are drawn */
/** @typedef {{ canvas: HTMLCanvasElement, of: unknown[] }} Ground the layers as they were drawn last, and what they were drawn of */
/** @typedef {{ place: Place, color: string, label: string }} Mark */
/** @typedef {{ scale: number, x: number, y: number }} View pixels of a site, and where the first one begins */

const SCALE_MAX = 128;
const LINE_PX_MAX = 14;
const MARK_PX_MAX = 24;
const CASING = "#fff";
const LINE = "#d61e34";

/**
 * @param {{ rows: number, columns: number, layers: Layer[], lines?: [Place, Place][], marks?: Mark[], label: string, isPanning?: boolean,
 *   pointed?: (place: Place | null) => void, pressed?: (place: Place, isFirst: boolean) => void, released?: () => void, seen?: (area: Area) => void }} props
 *   `pressed` is told each site that is passed while pressed; `seen` which part of it all is in sight
 */
export function Board({ rows, columns, layers, lines = [], marks = [], label, isPanning = false, pointed = () => {}, pressed = () => {}, released = () => {}, seen = () => {} }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [size, setSize] = useState({ width: 600, height: 400 });
  const [view, setView] = useState(/** @type {View | null} */ (null));
  const [cursor, setCursor] = useState(/** @type {Place | null} */ (null));
  const drag = useRef(/** @type {{ x: number, y: number, isPan: boolean, last: string } | null} */ (null));
  const shown = view ?? fitted(rows, columns, size);
  useEffect(() => setView(null), [rows, columns]);
  useEffect(() => {
    const place = canvas.current?.parentElement;
    if (!place) return;
    const resized = new ResizeObserver(([entry]) => setSize({ width: Math.max(1, entry.contentRect.width), height: Math.max(1, entry.contentRect.height) }));
    resized.observe(place);
    return () => resized.disconnect();
  }, []);
  // Drawn once a frame, however often the pointer moves meanwhile.
  const frame = useRef(0);
  const latest = useRef(() => {});
  const ground = useRef(/** @type {Ground | null} */ (null));
  latest.current = () => {
    if (!canvas.current) return;
    ground.current ??= { canvas: document.createElement("canvas"), of: [] };
    drawGround(ground.current, size, shown, layers);
    draw(canvas.current, ground.current.canvas, size, shown, { rows, columns, lines, marks, cursor });
  };
  useLayoutEffect(() => {
    frame.current ||= requestAnimationFrame(() => {
      frame.current = 0;
      latest.current();
    });
  });
  useEffect(() => () => cancelAnimationFrame(frame.current), []);
  useEffect(() => {
    const timer = setTimeout(() => seen(inSight(rows, columns, size, shown)), 120);
    return () => clearTimeout(timer);
  }, [rows, columns, size.width, size.height, shown.scale, shown.x, shown.y]);
  const zoom = (/** @type {number} */ by, /** @type {number} */ x = size.width / 2, /** @type {number} */ y = size.height / 2) => {
    const least = Math.min(fitted(rows, columns, size).scale, 1);
    const scale = Math.min(SCALE_MAX, Math.max(least, shown.scale * by));
    setView({ scale, x: x - ((x - shown.x) * scale) / shown.scale, y: y - ((y - shown.y) * scale) / shown.scale });
  };
  const placeAt = (/** @type {PointerEvent} */ event) => {
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
    const place = { row: Math.floor((event.clientY - box.top - shown.y) / shown.scale), column: Math.floor((event.clientX - box.left - shown.x) / shown.scale) };
    return place.row >= 0 && place.row < rows && place.column >= 0 && place.column < columns ? place : null;
  };
  const down = (/** @type {PointerEvent} */ event) => {
    const place = placeAt(event);
    const isPan = isPanning || event.button !== 0 || !place;
    drag.current = { x: event.clientX, y: event.clientY, isPan, last: place ? `${place.row} ${place.column}` : "" };
    /** @type {HTMLElement} */ (event.currentTarget).setPointerCapture(event.pointerId);
    if (!isPan && place) pressed(place, true);
  };
  const move = (/** @type {PointerEvent} */ event) => {
    const place = placeAt(event);
    pointed(place);
    const held = drag.current;
    if (!held) return;
    if (held.isPan) setView({ ...shown, x: shown.x + event.clientX - held.x, y: shown.y + event.clientY - held.y });
    else if (place && held.last !== `${place.row} ${place.column}`) {
      for (const one of between(held.last, place)) pressed(one, false);
      held.last = `${place.row} ${place.column}`;
    }
    Object.assign(held, { x: event.clientX, y: event.clientY });
  };
  const up = () => {
    if (drag.current && !drag.current.isPan) released();
    drag.current = null;
  };
  const typed = (/** @type {KeyboardEvent} */ event) => {
    const by = /** @type {Record<string, [number, number]>} */ ({ ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] })[event.key];
    if (by) {
      const from = cursor ?? { row: Math.floor(rows / 2) - by[0], column: Math.floor(columns / 2) - by[1] };
      const next = { row: Math.min(rows - 1, Math.max(0, from.row + by[0])), column: Math.min(columns - 1, Math.max(0, from.column + by[1])) };
      setCursor(next);
      pointed(next);
    } else if ((event.key === "Enter" || event.key === " ") && cursor) {
      pressed(cursor, true);
      released();
    } else if (event.key === "+") zoom(1.5);
    else if (event.key === "-") zoom(1 / 1.5);
    else if (event.key === "0") setView(null);
    else return;
    event.preventDefault();
  };
  const wheeled = (/** @type {WheelEvent} */ event) => {
    event.preventDefault();
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - box.left, event.clientY - box.top);
  };
  return html`<div>
    <div class="board" style=${{ aspectRatio: `${Math.max(columns, 1)} / ${Math.max(rows, columns / 8)}` }}><canvas ref=${canvas} tabindex="0" role="application" aria-label=${`${label}. Arrows move a cursor, Enter uses the tool, plus and minus zoom, 0 shows all.`} class=${isPanning ? "pan" : ""}
      onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerCancel=${up} onPointerLeave=${() => pointed(null)} onWheel=${wheeled} onKeyDown=${typed} onBlur=${() => setCursor(null)}></canvas></div>
    <div class="tools below"><button type="button" class="second small" aria-label="Zoom in" onClick=${() => zoom(1.5)}>+</button><button type="button" class="second small" aria-label="Zoom out" onClick=${() => zoom(1 / 1.5)}>−</button><button type="button" class="second small" onClick=${() => setView(null)}>Show all</button></div>
  </div>`;
}

/**
 * All of it, in the middle.
 * @param {number} rows
 * @param {number} columns
 * @param {{ width: number, height: number }} size
 * @returns {View}
 */
function fitted(rows, columns, { width, height }) {
  const scale = Math.min(SCALE_MAX, width / columns, height / rows);
  return { scale, x: (width - columns * scale) / 2, y: (height - rows * scale) / 2 };
}

/**
 * @param {number} rows
 * @param {number} columns
 * @param {{ width: number, height: number }} size
 * @param {View} view
 * @returns {Area}
 */
function inSight(rows, columns, { width, height }, { scale, x, y }) {
  const row = Math.min(rows - 1, Math.max(0, Math.floor(-y / scale)));
  const column = Math.min(columns - 1, Math.max(0, Math.floor(-x / scale)));
  return { row, column, rows: Math.max(1, Math.min(rows, Math.ceil((height - y) / scale)) - row), columns: Math.max(1, Math.min(columns, Math.ceil((width - x) / scale)) - column) };
}

/**
 * The sites from one to another, without the first: a pointer may leap.
 * @param {string} from
 * @param {Place} to
 */
function between(from, to) {
  const [row, column] = from.split(" ").map(Number);
  const many = Math.max(Math.abs(to.row - row), Math.abs(to.column - column));
  return Array.from({ length: many }, (_, index) => ({ row: Math.round(row + ((to.row - row) * (index + 1)) / many), column: Math.round(column + ((to.column - column) * (index + 1)) / many) }));
}

/**
 * Draws the layers anew where they, the view or the window are others, and else what was painted since: to
 * make millions of sites smaller for each of them would keep the page from answering.
 * @param {Ground} ground
 * @param {{ width: number, height: number }} size
 * @param {View} view
 * @param {Layer[]} layers
 */
function drawGround(ground, { width, height }, { scale, x, y }, layers) {
  const of = [width, height, scale, x, y, devicePixelRatio, ...layers.flatMap(({ image, area }) => [image, area.row, area.column, area.rows, area.columns])];
  const isSame = of.length === ground.of.length && of.every((one, index) => one === ground.of[index]);
  const painted = layers.flatMap((layer) => layer.painted?.splice(0) ?? []);
  // What lies above what was painted has to be drawn above it again.
  const isOnTop = layers.slice(0, -1).every((layer) => !layer.painted);
  if (isSame && (isOnTop || !painted.length)) {
    const context = /** @type {CanvasRenderingContext2D} */ (ground.canvas.getContext("2d"));
    for (const { place, color } of painted) {
      context.fillStyle = color;
      context.fillRect(x + place.column * scale, y + place.row * scale, scale, scale);
    }
    return;
  }
  ground.of = of;
  const context = cleared(ground.canvas, width, height);
  context.imageSmoothingEnabled = scale < 1;
  for (const { image, area } of layers) context.drawImage(image, x + area.column * scale, y + area.row * scale, area.columns * scale, area.rows * scale);
}

/**
 * A canvas that is empty, and so large, to be drawn on in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
function cleared(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLCanvasElement} ground of the same size, drawn below
 * @param {{ width: number, height: number }} size
 * @param {View} view
 * @param {{ rows: number, columns: number, lines: [Place, Place][], marks: Mark[], cursor: Place | null }} what
 */
function draw(canvas, ground, { width, height }, { scale, x, y }, { rows, columns, lines, marks, cursor }) {
  const context = cleared(canvas, width, height);
  context.drawImage(ground, 0, 0, width, height);
  context.strokeStyle = "rgb(120 130 130 / .6)";
  context.strokeRect(x, y, columns * scale, rows * scale);
  if (scale >= 12) drawGrid(context, { scale, x, y }, inSight(rows, columns, { width, height }, { scale, x, y }));
  const middle = (/** @type {Place} */ { row, column }) => /** @type {[number, number]} */ ([x + (column + 0.5) * scale, y + (row + 0.5) * scale]);
  for (const [color, extra] of /** @type {[string, number][]} */ ([[CASING, 2], [LINE, 0]])) {
    context.beginPath();
    for (const [from, to] of lines) {
      context.moveTo(...middle(from));
      context.lineTo(...middle(to));
    }
    Object.assign(context, { strokeStyle: color, lineWidth: Math.min(LINE_PX_MAX, Math.max(2, scale / 4)) + extra, lineCap: "round", lineJoin: "round" });
    context.stroke();
  }
  context.lineWidth = 2;
  for (const { place, color } of marks) {
    context.beginPath();
    context.arc(...middle(place), Math.min(MARK_PX_MAX, Math.max(5, scale * 0.4)), 0, 2 * Math.PI);
    Object.assign(context, { fillStyle: color, strokeStyle: CASING });
    context.fill();
    context.stroke();
  }
  if (!cursor) return;
  context.strokeStyle = LINE;
  context.strokeRect(x + cursor.column * scale, y + cursor.row * scale, scale, scale);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {View} view
 * @param {Area} area
 */
function drawGrid(context, { scale, x, y }, { row, column, rows, columns }) {
  context.beginPath();
  for (let at = column; at <= column + columns; at++) {
    context.moveTo(x + at * scale, y + row * scale);
    context.lineTo(x + at * scale, y + (row + rows) * scale);
  }
  for (let at = row; at <= row + rows; at++) {
    context.moveTo(x + column * scale, y + at * scale);
    context.lineTo(x + (column + columns) * scale, y + at * scale);
  }
  Object.assign(context, { strokeStyle: "rgb(120 130 130 / .25)", lineWidth: 1 });
  context.stroke();
}
