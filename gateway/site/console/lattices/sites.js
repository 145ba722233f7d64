// Where sites lie: their index in C order, slices of two axes, and the lines of a path in one.

/** @import { FoundPath } from "../calls/types.js" */
/** @typedef {{ rowAxis: number | null, columnAxis: number, at: number[] }} Slice `rowAxis` is null where there is one axis */
/** @typedef {{ row: number, column: number }} Place */

/**
 * @param {number[]} shape
 * @param {number[]} site
 */
export const indexOf = (shape, site) => site.reduce((index, at, axis) => index * shape[axis] + at, 0);

/**
 * Where a slice lies among all sites: the index of its first one, and how far it is from there to the
 * next row and to the next column.
 * @typedef {{ first: number, row: number, column: number }} Strides
 */

/**
 * @param {number[]} shape
 * @param {Slice} slice
 * @returns {Strides}
 */
export function stridesOf(shape, slice) {
  const strideOf = (/** @type {number | null} */ axis) => (axis === null ? 0 : shape.slice(axis + 1).reduce((product, length) => product * length, 1));
  return { first: indexOf(shape, siteAt(slice, { row: 0, column: 0 })), row: strideOf(slice.rowAxis), column: strideOf(slice.columnAxis) };
}

/**
 * The site of a slice's row and column.
 * @param {Slice} slice
 * @param {Place} place
 */
export function siteAt({ rowAxis, columnAxis, at }, { row, column }) {
  return at.map((fixed, axis) => (axis === rowAxis ? row : axis === columnAxis ? column : fixed));
}

/**
 * Where a site is in a slice, whether or not it lies in it.
 * @param {Slice} slice
 * @param {number[]} site
 * @returns {Place}
 */
export const placeOf = ({ rowAxis, columnAxis }, site) => ({ row: rowAxis === null ? 0 : site[rowAxis], column: site[columnAxis] });

/**
 * @param {Slice} slice
 * @param {number[]} site
 */
export const isIn = ({ rowAxis, columnAxis, at }, site) => site.every((one, axis) => axis === rowAxis || axis === columnAxis || one === at[axis]);

/**
 * The straight lines of a path, each from a site to one: where it goes over an edge, it goes on at
 * the other one.
 * @param {number[]} shape
 * @param {number[]} start
 * @param {FoundPath["runs"]} runs
 * @returns {Generator<[from: number[], to: number[]]>}
 */
export function* linesOf(shape, start, runs) {
  let at = start;
  for (const { step, count } of runs) {
    let left = Number(count);
    while (left > 0) {
      const many = Math.min(left, ...step.map((by, axis) => (by > 0 ? shape[axis] - 1 - at[axis] : by < 0 ? at[axis] : Number.POSITIVE_INFINITY)));
      const end = at.map((one, axis) => one + many * step[axis]);
      if (many) yield [at, end];
      left -= many;
      at = end;
      if (left <= 0) break;
      at = at.map((one, axis) => (one + step[axis] + shape[axis]) % shape[axis]);
      left -= 1;
    }
  }
}

/**
 * A site in words: "3, 17".
 * @param {number[]} site
 */
export const siteText = (site) => site.join(", ");
