// Which sites are blocked, a bit each in C order, the least significant first: as the API has it.

/** @import { Place, Strides } from "./sites.js" */

/* Alpha, blue, green and red, as pixels lie in memory. */
const BLOCKED = 0xff2c2826;
const FREE = 0xffe8ecec;
const SITES_AT_ONCE = 1_048_576;
const PATCH_SITES_MAX = 16_777_216;

export class Bitmap {
  /**
   * @param {number} siteCount
   * @param {Uint8Array} [bits] taken as they are
   */
  constructor(siteCount, bits = new Uint8Array(Math.ceil(siteCount / 8))) {
    this.siteCount = siteCount;
    this.bits = bits;
    /** @type {number | null} null until somebody asks */
    this.count = null;
  }

  /** @param {number} index */
  get(index) {
    return ((this.bits[index >> 3] ?? 0) >> (index & 7)) & 1;
  }

  /**
   * @param {number} index
   * @param {boolean} isBlocked
   */
  set(index, isBlocked) {
    if (this.count !== null) this.count += Number(isBlocked) - this.get(index);
    if (isBlocked) this.bits[index >> 3] |= 1 << (index & 7);
    else this.bits[index >> 3] &= ~(1 << (index & 7));
  }

  get blockedCount() {
    if (this.count !== null) return this.count;
    let total = 0;
    for (const byte of this.bits) total += BIT_COUNTS[byte];
    this.count = total;
    return total;
  }

  copy() {
    return new Bitmap(this.siteCount, this.bits.slice());
  }

  /** As `CreateLatticeRequest.blocked` takes it. */
  base64() {
    return new Promise((/** @type {(text: string) => void} */ resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(String(reader.result).split(",", 2)[1] ?? "");
      reader.readAsDataURL(new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (this.bits)]));
    });
  }

  /**
   * A slice as a picture, a pixel a site.
   * @param {number} rows
   * @param {number} columns
   * @param {Strides} [strides] all of it, row by row, where it is left out
   * @returns {SlicePicture}
   */
  picture(rows, columns, { first, row: rowStride, column: columnStride } = { first: 0, row: columns, column: 1 }) {
    const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const image = context.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    for (let row = 0, pixel = 0; row < rows; row++) {
      for (let end = pixel + columns, index = first + row * rowStride; pixel < end; pixel++, index += columnStride) pixels[pixel] = (this.bits[index >> 3] >> (index & 7)) & 1 ? BLOCKED : FREE;
    }
    context.putImageData(image, 0, 0);
    return { image: canvas, painted: [] };
  }
}

/**
 * A slice as a picture, and what was painted on it that whoever shows it has not drawn yet.
 * @typedef {{ image: HTMLCanvasElement, painted: { place: Place, color: string }[] }} SlicePicture
 */

/**
 * Changes a pixel of such a picture.
 * @param {SlicePicture} picture
 * @param {Place} place
 * @param {boolean} isBlocked
 */
export function paint({ image, painted }, place, isBlocked) {
  const context = /** @type {CanvasRenderingContext2D} */ (image.getContext("2d"));
  const color = isBlocked ? "#26282c" : "#ecece8";
  context.fillStyle = color;
  context.fillRect(place.column, place.row, 1, 1);
  painted.push({ place, color });
}

/**
 * What JSON has as base64.
 * @param {string} base64
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}

/** @typedef {{ origin: number[], shape: number[], blocked: Bitmap, written: Bitmap }} Patch */

/**
 * The box around the sites that differ, and which of it those are; null where none differs.
 * @param {Bitmap} before
 * @param {Bitmap} after
 * @param {number[]} shape
 * @returns {Patch | null}
 */
export function patchOf(before, after, shape) {
  /** @type {number[]} */
  const changed = [];
  for (let byte = 0; byte < after.bits.length; byte++) {
    const differing = (before.bits[byte] ?? 0) ^ after.bits[byte];
    for (let bit = 0; differing >> bit; bit++) if ((differing >> bit) & 1) changed.push(8 * byte + bit);
  }
  if (!changed.length) return null;
  const origin = [...shape];
  const last = shape.map(() => 0);
  for (const index of changed) {
    for (let axis = shape.length - 1, rest = index; axis >= 0; rest = Math.floor(rest / shape[axis--])) {
      const at = rest % shape[axis];
      if (at < origin[axis]) origin[axis] = at;
      if (at > last[axis]) last[axis] = at;
    }
  }
  const lengths = shape.map((_, axis) => last[axis] - origin[axis] + 1);
  const siteCount = lengths.reduce((product, length) => product * length, 1);
  if (siteCount > PATCH_SITES_MAX) throw new Error("What was drawn lies too far apart to be saved at once. Discard some of it.");
  const [blocked, written] = [new Bitmap(siteCount), new Bitmap(siteCount)];
  for (const index of changed) {
    let place = 0;
    for (let axis = shape.length - 1, rest = index, scale = 1; axis >= 0; scale *= lengths[axis], rest = Math.floor(rest / shape[axis--])) place += ((rest % shape[axis]) - origin[axis]) * scale;
    written.set(place, true);
    blocked.set(place, Boolean(after.get(index)));
  }
  return { origin, shape: lengths, blocked, written };
}

const BIT_COUNTS = Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

/**
 * Blocks sites at random, some at a time: the page answers meanwhile.
 * @param {number} siteCount
 * @param {number} share of 0 to 1
 */
export async function randomBitmap(siteCount, share) {
  const made = new Bitmap(siteCount);
  for (let index = 0; index < siteCount; index++) {
    if (index % SITES_AT_ONCE === SITES_AT_ONCE - 1) await new Promise((resolve) => setTimeout(resolve));
    if (Math.random() < share) made.bits[index >> 3] |= 1 << (index & 7);
  }
  return made;
}

/**
 * Dark pixels of a picture block a site each.
 * @param {Blob} file
 * @param {number} lengthMax of its longer side; a larger one is made smaller
 * @returns {Promise<{ rows: number, columns: number, bitmap: Bitmap }>}
 */
export async function pictureBitmap(file, lengthMax) {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, lengthMax / Math.max(image.width, image.height));
  const [columns, rows] = [Math.max(1, Math.round(image.width * scale)), Math.max(1, Math.round(image.height * scale))];
  const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, columns, rows);
  context.drawImage(image, 0, 0, columns, rows);
  const { data } = context.getImageData(0, 0, columns, rows);
  const bitmap = new Bitmap(rows * columns);
  for (let index = 0; index < rows * columns; index++) bitmap.set(index, 3 * 128 > data[4 * index] + data[4 * index + 1] + data[4 * index + 2]);
  return { rows, columns, bitmap };
}
