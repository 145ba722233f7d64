// A new lattice: free, drawn by hand, at random, from a picture, or from a `.npy` file.

import { call, post } from "../calls/api.js";
import { Head } from "../parts/basics.js";
import { Field, Form, Input, Select, wordsOf } from "../parts/forms.js";
import { html, useMemo, useRef, useState } from "../parts/html.js";
import { useOnce } from "../parts/ids.js";
import { go, to } from "../parts/router.js";
import { count, counted } from "../parts/words.js";
import { Bitmap, paint, pictureBitmap, randomBitmap } from "./bitmap.js";
import { Board } from "./board.js";

/** @import { Identity, Plan } from "../calls/types.js" */

const WAYS = /** @type {[string, string][]} */ ([["draw", "Draw"], ["random", "Random"], ["picture", "From a picture"], ["npy", "From .npy"], ["free", "Nothing blocked"]]);
const DRAWN_MAX = 1000;
const AXES_MAX = 10;
const BITS_BYTES_MAX = 4_194_304;
const NEIGHBOURHOODS = /** @type {[string, string][]} */ ([["NEIGHBOURHOOD_VON_NEUMANN", "along one axis"], ["NEIGHBOURHOOD_MOORE", "diagonally, too"]]);
const BOUNDARIES = /** @type {[string, string][]} */ ([["BOUNDARY_OPEN", "open: it ends there"], ["BOUNDARY_PERIODIC", "periodic: it goes on at the other side"]]);
const CORNERS = /** @type {[string, string][]} */ ([["CORNER_RULE_NO_CUTTING", "not past blocked corners"], ["CORNER_RULE_CUTTING", "past blocked corners"]]);

/** @param {{ who: Identity }} props */
export function Page({ who: { tenant } }) {
  const most = limitsOf(tenant.plan);
  const [way, setWay] = useState("draw");
  const [drawing, setDrawing] = useState(() => emptyDrawing(Math.min(24, most.extent), Math.min(40, most.extent)));
  const once = useOnce();
  const drawn = useRef(/** @type {{ of: string, bitmap: Bitmap | null }} */ ({ of: "", bitmap: null }));
  // The same sites as long as the same is asked for: what is sent again is what was sent.
  const random = async (/** @type {number} */ siteCount, /** @type {number} */ share) => {
    const of = `${siteCount} ${share}`;
    if (drawn.current.of !== of) drawn.current = { of, bitmap: await randomBitmap(siteCount, share) };
    return /** @type {Bitmap} */ (drawn.current.bitmap);
  };
  const act = async (/** @type {Record<string, string>} */ values, /** @type {HTMLFormElement} */ form) => {
    const { latticeId } = await once((requestId) => create(way, values, form, drawing, random, requestId));
    go(to(["lattices", latticeId]));
  };
  return html`<${Head} title="New lattice" lead="A site is free or blocked; paths lead from one free site to the next." />
    <div class="tabs" role="group" aria-label="How to make it">${WAYS.map(([name, text]) => html`<button type="button" aria-pressed=${way === name} onClick=${() => setWay(name)}>${text}</button>`)}</div>
    <${Form} label="Create" act=${act} class="wide">
      ${{ draw: html`<${Draw} drawing=${drawing} setDrawing=${setDrawing} most=${most} />`, picture: html`<${Picture} drawing=${drawing} setDrawing=${setDrawing} most=${most} />`, random: html`<${Random} most=${most} />`, npy: html`<${File} />`, free: html`<${Shape} value=${Array(Math.min(3, most.axes)).fill(Math.min(1000, most.extent)).join(" ")} hint="With spaces between. A free lattice takes no memory for its sites." />` }[way]}
      ${most.words && html`<p class="hint">${most.words}</p>`}
      <div class="columns">
        <${Select} name="neighbourhood" label="Steps lead" of=${NEIGHBOURHOODS} />
        <${Select} name="boundary" label="Its edges are" of=${BOUNDARIES} />
        <${Select} name="cornerRule" label="Diagonal steps lead" of=${CORNERS} />
      </div>
    <//>`;
}

/**
 * What the plan of the tenant lets a lattice be, and how many sites a side are drawn at most.
 * @typedef {{ axes: number, extent: number, drawn: number, words: string }} Most
 */

/** @param {Plan} plan @returns {Most} */
function limitsOf({ name, axisCountMax, extentMax }) {
  const [axes, extent] = [Number(axisCountMax) || AXES_MAX, Number(extentMax) || Number.POSITIVE_INFINITY];
  const limits = [axes < AXES_MAX && counted(axes, "axis", "axes"), extent < Number.POSITIVE_INFINITY && `${counted(extent, "site")} along each`].filter(Boolean);
  return { axes, extent, drawn: Math.min(DRAWN_MAX, extent), words: limits.length ? `The plan ${name} allows at most ${limits.join(", and ")}.` : "" };
}

/**
 * @param {string} way
 * @param {Record<string, string>} values
 * @param {HTMLFormElement} form
 * @param {{ rows: number, columns: number, bitmap: Bitmap }} drawing
 * @param {(siteCount: number, share: number) => Promise<Bitmap>} random
 * @param {string} requestId
 * @returns {Promise<{ latticeId: string }>}
 */
async function create(way, { neighbourhood, boundary, cornerRule, shape = "", share = "" }, form, drawing, random, requestId) {
  const rules = { neighbourhood, cornerRule, boundaries: [boundary] };
  if (way === "npy") {
    const file = /** @type {HTMLInputElement} */ (form.elements.namedItem("file")).files?.[0];
    if (!file) throw new Error("Choose a file first.");
    return (await call("POST", "/v1/lattices:upload", { query: { ...rules, requestId }, bytes: file, headers: { "Content-Type": "application/x-npy" } })).lattice;
  }
  const lengths = way === "draw" || way === "picture" ? [drawing.rows, drawing.columns] : wordsOf(shape).map(Number);
  if (!lengths.length || lengths.some((length) => !(length >= 1 && Number.isInteger(length)))) throw new Error("Give the length of each axis as whole numbers, for example 40 60.");
  const siteCount = lengths.reduce((product, length) => product * length, 1);
  const bitmap = way === "free" ? new Bitmap(0) : way === "random" ? await random(checked(siteCount), Number(share) / 100) : drawing.bitmap;
  return createFrom(lengths, bitmap, rules, requestId);
}

/** @param {number} siteCount */
function checked(siteCount) {
  if (siteCount / 8 > BITS_BYTES_MAX) throw new Error(`At most ${count(8 * BITS_BYTES_MAX)} sites can be blocked from here, not ${count(siteCount)}. Upload a .npy file.`);
  return siteCount;
}

/**
 * @param {number[]} shape
 * @param {Bitmap} bitmap
 * @param {object} rules
 * @param {string} requestId makes it safe to send again
 * @returns {Promise<{ latticeId: string }>}
 */
export async function createFrom(shape, bitmap, rules, requestId) {
  const isFree = bitmap.blockedCount === 0;
  return post("/v1/lattices", { shape, ...rules, requestId, ...(isFree ? {} : { blocked: await bitmap.base64(), bitOrder: "BIT_ORDER_LITTLE" }) });
}

/** @param {{ value: string, hint: string }} props */
const Shape = ({ value, hint }) => html`<${Input} name="shape" label="Length of each axis" value=${value} required=${true} hint=${hint} />`;

/** @param {{ most: Most }} props */
const Random = ({ most: { axes, extent } }) => html`<div class="columns"><${Shape} value=${[100, 160].slice(-axes).map((length) => Math.min(length, extent)).join(" ")} hint="With spaces between." /><${Input} name="share" label="Blocked, in per cent" type="number" min="0" max="100" value="30" /></div>`;

const File = () => html`<${Field} label="File" hint="An array of booleans or of bytes of any shape, where 1 blocks a site: numpy.save writes it."><input type="file" name="file" accept=".npy" required=${true} /><//>`;

/** @typedef {{ rows: number, columns: number, bitmap: Bitmap }} Drawing */
/** @typedef {{ drawing: Drawing, setDrawing: (drawing: Drawing) => void, most: Most }} DrawingProps */

/** @param {number} rows @param {number} columns @returns {Drawing} */
const emptyDrawing = (rows, columns) => ({ rows, columns, bitmap: new Bitmap(rows * columns) });

/** @param {DrawingProps} props */
function Picture({ drawing, setDrawing, most }) {
  const [problem, setProblem] = useState("");
  const read = async (/** @type {any} */ event) => {
    const file = event.currentTarget.files?.[0];
    if (!file) return;
    try {
      setProblem("");
      setDrawing(await pictureBitmap(file, most.drawn));
    } catch {
      setProblem("This file is no picture that the browser reads.");
    }
  };
  return html`<${Field} label="Picture" hint=${`Dark pixels are blocked. At most ${count(most.drawn)} sites a side: a larger one is made smaller.`}><input type="file" accept="image/*" onChange=${read} /><//>
    ${problem && html`<p class="failure" role="alert">${problem}</p>`}
    <${Draw} drawing=${drawing} setDrawing=${setDrawing} most=${most} />`;
}

/** @param {DrawingProps} props */
function Draw({ drawing, setDrawing, most }) {
  const [tool, setTool] = useState("block");
  const [, redraw] = useState(0);
  const { rows, columns, bitmap } = drawing;
  const picture = useMemo(() => bitmap.picture(rows, columns), [drawing]);
  const layers = [{ ...picture, area: { row: 0, column: 0, rows, columns } }];
  const resize = (/** @type {number} */ newRows, /** @type {number} */ newColumns) => {
    const made = emptyDrawing(newRows, newColumns);
    for (let row = 0; row < Math.min(rows, newRows); row++) for (let column = 0; column < Math.min(columns, newColumns); column++) made.bitmap.set(row * newColumns + column, Boolean(bitmap.get(row * columns + column)));
    setDrawing(made);
  };
  const length = (/** @type {any} */ event) => Math.min(most.drawn, Math.max(1, Math.round(Number(event.target.value)) || 1));
  const press = (/** @type {{ row: number, column: number }} */ { row, column }) => {
    bitmap.set(row * columns + column, tool === "block");
    paint(picture, { row, column }, tool === "block");
    redraw((last) => last + 1);
  };
  const hint = { block: "Draw the sites that are blocked, then create it.", free: "Erase blocked sites.", pan: "Drag to move." }[tool];
  return html`<div>
    <div class="tools">
      <button type="button" class="second" aria-pressed=${tool === "block"} onClick=${() => setTool("block")}>Block</button>
      <button type="button" class="second" aria-pressed=${tool === "free"} onClick=${() => setTool("free")}>Erase</button>
      <button type="button" class="second" aria-pressed=${tool === "pan"} onClick=${() => setTool("pan")}>Move</button>
      <button type="button" class="second" onClick=${() => setDrawing(emptyDrawing(rows, columns))}>Clear</button>
      <label>Rows <input type="number" min="1" max=${most.drawn} value=${rows} onChange=${(/** @type {any} */ event) => resize(length(event), columns)} /></label>
      <label>Columns <input type="number" min="1" max=${most.drawn} value=${columns} onChange=${(/** @type {any} */ event) => resize(rows, length(event))} /></label>
      <span role="status">${counted(bitmap.blockedCount, "site")} blocked</span>
      <span class="faint">${hint}</span>
    </div>
    <${Board} rows=${rows} columns=${columns} layers=${layers} isPanning=${tool === "pan"} pressed=${press} label=${`A grid of ${rows} rows and ${columns} columns to draw on`} />
    <p class="hint">With the pointer, or with the arrows and Enter. The wheel zooms.</p>
  </div>`;
}
