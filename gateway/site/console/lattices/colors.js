// Numbers as colours: Viridis, from 16 of its colours, which it is linear between.

const STOPS = ["440154", "481a6c", "472f7d", "414487", "39568c", "31688e", "2a788e", "23888e", "1f988b", "22a884", "35b779", "54c568", "7ad151", "a5db36", "d2e21b", "fde725"].map(
  (hex) => [0, 2, 4].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)),
);
const ALPHA = 205;

/**
 * @param {number} share of 0 to 1
 * @returns {number[]} red, green, blue, of 0 to 255
 */
export function viridis(share) {
  const at = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[low].map((from, index) => Math.round(from + (STOPS[low + 1][index] - from) * (at - low)));
}

const TABLE = Array.from({ length: 256 }, (_, index) => viridis(index / 255));

/**
 * A picture of numbers, a pixel each; those below 0 are seen through.
 * @param {ArrayLike<number>} values
 * @param {number} rows
 * @param {number} columns
 * @param {(value: number) => number[]} colorOf
 */
export function picture(values, rows, columns, colorOf) {
  const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(columns, rows);
  for (let index = 0; index < rows * columns; index++) {
    if (values[index] < 0) continue;
    const [red, green, blue] = colorOf(values[index]);
    image.data.set([red, green, blue, ALPHA], 4 * index);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** @param {number} most */
export const bySize = (most) => (/** @type {number} */ value) => TABLE[most > 0 ? Math.round((255 * value) / most) : 0];

/** Of a site that a search has looked at. */
export const lookedAt = () => [242, 153, 20];

/** Colours that tell labels apart: neighbours in number are far apart in hue. */
export function byLabel(/** @type {number} */ label) {
  const hue = (label * 137.508) % 360;
  const part = (/** @type {number} */ shift) => Math.round(255 * (0.6 - 0.35 * Math.max(-1, Math.min(Math.min(((shift + hue / 30) % 12) - 3, 9 - ((shift + hue / 30) % 12)), 1))));
  return [part(0), part(8), part(4)];
}
