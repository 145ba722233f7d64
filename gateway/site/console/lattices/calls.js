// What the viewer asks of a lattice: pictures of slices, its bitmap, distances, labels, numbers.

import { call, download, get, post, stream } from "../calls/api.js";
import { Bitmap, bytesOf } from "./bitmap.js";
import { siteAt } from "./sites.js";

/** @import { Computation, Field, FoundPath, Lattice } from "../calls/types.js" */
/** @import { Area } from "./board.js" */
/** @import { Slice } from "./sites.js" */

const SITES_MAX = 33_554_432;
const PIXELS_MAX = 2048;

/** @type {Record<string, { new (buffer: ArrayBuffer): ArrayLike<number | bigint> }>} */
const ARRAYS = {
  NUMBER_TYPE_UINT8: Uint8Array,
  NUMBER_TYPE_UINT16: Uint16Array,
  NUMBER_TYPE_INT16: Int16Array,
  NUMBER_TYPE_INT32: Int32Array,
  NUMBER_TYPE_INT64: BigInt64Array,
  NUMBER_TYPE_FLOAT32: Float32Array,
  NUMBER_TYPE_FLOAT64: Float64Array,
};

/** @param {string} latticeId */
const pathOf = (latticeId) => `/v1/lattices/${encodeURIComponent(latticeId)}`;

/** @param {string} latticeId @param {AbortSignal} [signal] @returns {Promise<Lattice>} */
export const findLattice = (latticeId, signal) => get(pathOf(latticeId), {}, signal);

/** @param {string} latticeId */
export const deleteLattice = (latticeId) => call("DELETE", pathOf(latticeId));

/** @param {string} latticeId @param {AbortSignal} [signal] @returns {Promise<Field[]>} */
export const findFields = async (latticeId, signal) => (await get(`${pathOf(latticeId)}/fields`, {}, signal)).fields;

/**
 * The part of a slice in sight, drawn by the server: with at most 2,048 pixels a side, of more sites
 * every so many.
 * @param {string} latticeId
 * @param {Slice} slice
 * @param {Area} area
 * @param {{ field: string, colorMap: string, low?: number, high?: number, atRevision?: string }} style
 * @param {AbortSignal} signal
 * @returns {Promise<{ image: ImageBitmap, area: Area }>}
 */
export async function drawSlice(latticeId, slice, area, { field, colorMap, low, high, atRevision }, signal) {
  const pixelsMax = Math.min(PIXELS_MAX, Math.max(16, area.rows, area.columns));
  const hasRows = slice.rowAxis !== null;
  const body = {
    ...(field ? { name: field, colorMap, ...(low !== undefined && high !== undefined && low < high ? { low, high } : {}) } : {}),
    ...(hasRows ? { rowAxis: slice.rowAxis } : {}),
    columnAxis: slice.columnAxis,
    at: { coordinates: slice.at },
    origin: [area.row, area.column],
    shape: [area.rows, area.columns],
    pixelsMax,
    withoutColorBar: true,
    ...(atRevision === undefined ? {} : { atRevision }),
  };
  const image = await createImageBitmap(await download("POST", `${pathOf(latticeId)}:render`, { body, signal }));
  return layerOf(image, area, pixelsMax);
}

/**
 * A picture that the server has drawn of an area, over as many sites as it shows.
 * @param {ImageBitmap} image
 * @param {Area} area
 * @param {number} pixelsMax
 * @returns {{ image: ImageBitmap, area: Area }}
 */
function layerOf(image, area, pixelsMax) {
  const step = Math.ceil(Math.max(area.rows, area.columns) / pixelsMax);
  const pixels = Math.max(1, Math.round(image.width / Math.ceil(area.columns / step)));
  return { image, area: { ...area, rows: (image.height / pixels) * step, columns: (image.width / pixels) * step } };
}

/**
 * The last two axes of what a call draws that answers with a picture among other things.
 * @param {string} path
 * @param {string[]} shape of the lattice
 * @param {object} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ layer: { image: ImageBitmap, area: Area }, answer: any }>}
 */
export async function drawnBy(path, shape, body, signal) {
  const area = { row: 0, column: 0, rows: Number(shape.at(-2) ?? 1), columns: Number(shape.at(-1)) };
  const pixelsMax = Math.min(PIXELS_MAX, Math.max(16, area.rows, area.columns));
  const answer = await post(path, { ...body, view: { pixelsMax, withoutColorBar: true } }, signal);
  const image = await createImageBitmap(new Blob([bytesOf(answer.png)], { type: "image/png" }));
  return { layer: layerOf(image, area, pixelsMax), answer };
}

/**
 * Which sites are blocked; null where they are too many to hold here.
 * @param {Lattice} lattice
 * @param {AbortSignal} [signal]
 */
export async function findBlocked({ latticeId, shape }, signal) {
  const siteCount = shape.reduce((product, length) => product * Number(length), 1);
  if (siteCount > SITES_MAX) return null;
  const blob = await download("GET", `${pathOf(latticeId)}/blocked`, { query: { bitOrder: "BIT_ORDER_LITTLE" }, signal });
  // Where no site is blocked nothing comes.
  return blob.size ? new Bitmap(siteCount, new Uint8Array(await blob.arrayBuffer())) : new Bitmap(siteCount);
}

/**
 * Blocks and frees the sites that were changed, and no others.
 * @param {string} latticeId
 * @param {import("./bitmap.js").Patch} patch
 * @param {string} requestId makes it safe to send again
 */
export async function writeBlocked(latticeId, { origin, shape, blocked, written }, requestId) {
  const region = { origin: { coordinates: origin }, shape };
  return post(`${pathOf(latticeId)}:writeBlocked`, { region, blocked: await blocked.base64(), written: await written.base64(), bitOrder: "BIT_ORDER_LITTLE", requestId });
}

/**
 * Undoes the last change of which sites are blocked, or does it again.
 * @param {string} latticeId
 * @param {string} verb
 * @param {string} requestId makes it safe to send again
 */
export const turnBlocked = (latticeId, verb, requestId) => post(`${pathOf(latticeId)}:${verb}`, { requestId });

/**
 * @param {string} latticeId
 * @param {number[]} start
 * @param {number[]} goal
 * @returns {Promise<{ path: FoundPath, computation: Computation }>}
 */
export const findPath = (latticeId, start, goal) => post(`${pathOf(latticeId)}:findPath`, { start: { coordinates: start }, goal: { coordinates: goal }, sitesMax: 0 });

/**
 * Which sites of an area the search for a path has looked at, 1, and -1 for others; and how it searches.
 * @param {string} latticeId
 * @param {Slice} slice
 * @param {Area} area
 * @param {number[]} start
 * @param {number[]} goal
 */
export async function findLookedAt(latticeId, slice, area, start, goal) {
  const body = { start: { coordinates: start }, goal: { coordinates: goal }, sitesMax: 0, region: regionOf(slice, area) };
  const { lookedAt, computation } = await post(`${pathOf(latticeId)}:findPath`, body);
  const bitmap = new Bitmap(area.rows * area.columns, bytesOf(lookedAt ?? ""));
  return { sites: Int8Array.from({ length: area.rows * area.columns }, (_, index) => (bitmap.get(index) ? 1 : -1)), method: /** @type {string} */ (computation.method) };
}

/**
 * How far each site of an area is from another; -1 where no way leads.
 * @param {string} latticeId
 * @param {Slice} slice
 * @param {Area} area
 * @param {number[]} source
 */
export async function findDistances(latticeId, slice, area, source) {
  const body = { sources: [{ coordinates: source }], region: regionOf(slice, area), asBytes: true };
  const distances = new Float64Array(area.rows * area.columns);
  for await (const { text } of stream("POST", `${pathOf(latticeId)}:distances`, { body })) {
    const { firstIndex, values, numberType } = JSON.parse(text);
    distances.set(/** @type {ArrayLike<number>} */ (numbers(values, numberType)), Number(firstIndex));
  }
  return distances;
}

/**
 * The component of each site of an area, -1 for blocked ones.
 * @param {string} latticeId
 * @param {Slice} slice
 * @param {Area} area
 */
export async function findLabels(latticeId, slice, area) {
  const labels = new Int32Array(area.rows * area.columns);
  for await (const { text } of stream("POST", `${pathOf(latticeId)}:componentLabels`, { body: { region: regionOf(slice, area) } })) {
    const answer = JSON.parse(text);
    labels.set(answer.labels, Number(answer.firstIndex));
  }
  return labels;
}

/**
 * @param {string} latticeId
 * @returns {Promise<{ count: string, components: { label: string, size: string, first: string[], spanning: boolean[] }[], computation: Computation }>}
 */
export const findComponents = (latticeId) => post(`${pathOf(latticeId)}:components`, { componentsMax: 5 });

/**
 * What a field's numbers in a slice are like, with a histogram.
 * @param {string} latticeId
 * @param {string} field
 * @param {Slice} slice
 * @param {Area} area
 * @param {AbortSignal} [signal]
 */
export function findStatistics(latticeId, field, slice, area, signal) {
  const { origin, shape } = regionOf(slice, area);
  return get(`${pathOf(latticeId)}/fields/${encodeURIComponent(field)}/statistics`, { bins: 40, origin: origin.coordinates, shape }, signal);
}

/**
 * The number of a field at a site.
 * @param {string} latticeId
 * @param {Field} field
 * @param {number[]} site
 * @param {AbortSignal} signal
 */
export async function findValue(latticeId, { name, numberType }, site, signal) {
  const query = { format: "ARRAY_FORMAT_RAW", origin: site, shape: site.map(() => 1) };
  const blob = await download("GET", `${pathOf(latticeId)}/fields/${encodeURIComponent(name)}/values`, { query, signal });
  return new ARRAYS[numberType](await blob.arrayBuffer())[0];
}

/**
 * @param {Slice} slice
 * @param {Area} area
 */
function regionOf(slice, area) {
  const shape = slice.at.map((_, axis) => (axis === slice.rowAxis ? area.rows : axis === slice.columnAxis ? area.columns : 1));
  return { origin: { coordinates: siteAt(slice, area) }, shape };
}

/**
 * @param {string} base64
 * @param {string} numberType
 */
const numbers = (base64, numberType) => new ARRAYS[numberType](bytesOf(base64).buffer);
