// A lattice looked at: a slice of two axes with what is known of its sites, and what is found on it.

import { useMay } from "../calls/identity.js";
import { Facts, Failure, Head, Loading, Time } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../parts/html.js";
import { useOnce } from "../parts/ids.js";
import { useAction, useLoad } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { bytes, computedIn, count, counted, enumWord, number, shapeText } from "../parts/words.js";
import { paint, patchOf } from "./bitmap.js";
import { Board } from "./board.js";
import { deleteLattice, drawSlice, findBlocked, findDistances, findFields, findLabels, findLattice, findLookedAt, findPath, findStatistics, turnBlocked, writeBlocked } from "./calls.js";
import { byLabel, bySize, lookedAt, picture } from "./colors.js";
import { createFrom } from "./create.js";
import { Cursor } from "./cursor.js";
import { boundaryText } from "./list.js";
import { Axes, Components, FieldPanel } from "./panels.js";
import { indexOf, isIn, linesOf, placeOf, siteAt, siteText, stridesOf } from "./sites.js";

/** @import { Computation, FoundPath, Lattice } from "../calls/types.js" */
/** @import { Bitmap } from "./bitmap.js" */
/** @import { Area, Layer } from "./board.js" */
/** @import { Place, Slice } from "./sites.js" */
/** @typedef {{ start: number[] | null, goal: number[] | null }} Ends */

const START = "#169646";
const GOAL = "#1e54d6";
const OVERLAY_SITES_MAX = 4_000_000;
const LABELS_MAX = 1_000_000;
const EDITED_MAX = 16_000_000;
const WHOLE_MAX = 2048;
const TOOLS = /** @type {[string, string][]} */ ([["start", "Start"], ["goal", "Goal"], ["block", "Block"], ["free", "Erase"], ["pan", "Move"]]);

/** @param {{ latticeId: string, query: Record<string, string> }} props */
export function Page({ latticeId, query }) {
  const { data, error, reload } = useLoad((signal) => findLattice(latticeId, signal), [latticeId]);
  if (!data) return error ? html`<${Failure} error=${error} again=${reload} />` : html`<${Loading} />`;
  return html`<${Viewer} lattice=${data} field=${query.field ?? ""} reload=${reload} />`;
}

/** @param {{ lattice: Lattice, field: string, reload: () => void }} props */
function Viewer({ lattice, field, reload }) {
  const may = useMay();
  const shape = useMemo(() => lattice.shape.map(Number), [lattice]);
  const [slice, setSlice] = useState(/** @type {Slice} */ ({ rowAxis: shape.length > 1 ? shape.length - 2 : null, columnAxis: shape.length - 1, at: shape.map(() => 0) }));
  const [rows, columns] = [slice.rowAxis === null ? 1 : shape[slice.rowAxis], shape[slice.columnAxis]];
  const [chosen, setStyle] = useState({ field, colorMap: "COLOR_MAP_VIRIDIS" });
  const [area, setArea] = useState(/** @type {Area} */ ({ row: 0, column: 0, rows: Math.min(rows, WHOLE_MAX), columns: Math.min(columns, WHOLE_MAX) }));
  const [tool, setTool] = useState("start");
  const [ends, setEnds] = useState(/** @type {{ start: number[] | null, goal: number[] | null }} */ ({ start: null, goal: null }));
  const [pointed, setPointed] = useState(/** @type {Place | null} */ (null));
  const fields = useLoad((signal) => findFields(lattice.latticeId, signal), [lattice.latticeId]);
  // An address may name a field that is not there, or not yet.
  const style = fields.data?.some((one) => one.name === chosen.field) ? chosen : { ...chosen, field: "" };
  const blocked = useLoad((signal) => findBlocked(lattice, signal), [lattice.latticeId]);
  const editing = useEditing(blocked.data ?? null, shape, slice, rows, columns);
  const whole = rows <= WHOLE_MAX && columns <= WHOLE_MAX;
  const shown = whole ? { row: 0, column: 0, rows, columns } : area;
  const statistics = useLoad(async (signal) => (style.field ? findStatistics(lattice.latticeId, style.field, slice, shown, signal) : null), [style.field, slice, shown]);
  const base = useLoad((signal) => drawSlice(lattice.latticeId, slice, shown, { ...style, low: statistics.data?.low, high: statistics.data?.high }, signal), [lattice.latticeId, slice, shown, style, style.field ? statistics.data?.digest : ""]);
  const path = usePath(lattice.latticeId, ends.start, ends.goal);
  const overlay = useOverlay(lattice.latticeId, slice, shown, ends);
  const changed = (/** @type {Bitmap | null} */ bitmap) => {
    if (bitmap) blocked.set(bitmap);
    else blocked.reload();
    reload();
    base.reload();
    path.again();
    overlay.show("", ends);
  };
  const press = (/** @type {Place} */ place) => {
    const site = siteAt(slice, place);
    if (tool === "start" || tool === "goal") {
      setEnds({ ...ends, [tool]: site });
      if (tool === "start" && !ends.goal) setTool("goal");
    } else editing.set(place, tool === "block");
  };
  const all = { row: 0, column: 0, rows, columns };
  const isReading = !blocked.data && blocked.isLoading;
  const drawn = editing.picture && (editing.isChanged || !style.field) ? { ...editing.picture, area: all } : base.data;
  const layers = [drawn, overlay.layer].filter((layer) => layer !== null && layer !== undefined);
  const lines = useMemo(() => (path.answer?.path.found && ends.start ? linesIn(slice, shape, ends.start, path.answer.path) : []), [path.answer, slice]);
  const marks = [...mark(slice, ends.start, START, "start"), ...mark(slice, ends.goal, GOAL, "goal")];
  const seen = useCallback((/** @type {Area} */ next) => setArea(next), []);
  const title = `Lattice ${shapeText(lattice.shape)}`;
  return html`<${Head} title=${title} lead=${html`${counted(lattice.vertices, "site")} and ${counted(lattice.edges, "edge")}, ${count(lattice.blockedSites)} blocked. Created <${Time} at=${lattice.createdAt} />.`}>
      <a class="button second" href=${to(["streams", `$lattice-${lattice.latticeId}`])}>Its events</a>
      <a class="button second" href=${to(["lattices", lattice.latticeId, "history"])}>History</a>
      ${may("lattices.write") && html`<a class="button second" href=${to(["lattices", lattice.latticeId, "simulate"])}>Simulate</a>`}
      ${may("lattices.write") && html`<${Confirmed} label="Delete" title="Delete this lattice" question=${html`<p>It is gone at once; its events stay.</p>`} act=${() => deleteLattice(lattice.latticeId)} done=${() => go("#/lattices")} />`}
    <//>
    <div class="viewer">
      <div>
        <${Tools} tool=${tool} setTool=${setTool} mayEdit=${may("lattices.write") && (editing.isPossible || isReading)} isReading=${isReading} clear=${() => setEnds({ start: null, goal: null })} hasEnds=${Boolean(ends.start || ends.goal)} />
        <${Board} rows=${rows} columns=${columns} layers=${layers} lines=${lines} marks=${marks} isPanning=${tool === "pan"} pointed=${setPointed} pressed=${press} seen=${seen} label=${`${title}, ${rows} rows and ${columns} columns of it`} />
        <${Cursor} lattice=${lattice} shape=${shape} slice=${slice} place=${pointed} field=${fields.data?.find((one) => one.name === style.field) ?? null} blocked=${editing.bitmap ?? blocked.data ?? null} />
        ${editing.isChanged && html`<${Save} lattice=${lattice} shape=${shape} editing=${editing} original=${blocked.data ?? null} changed=${changed} />`}
        <p class="legend"><span><i class="free"></i>free</span><span><i class="blocked"></i>blocked</span><span><i class="start"></i>start</span><span><i class="goal"></i>goal</span><span><i class="path"></i>path</span></p>
        <${Failure} error=${base.error ?? blocked.error} again=${base.reload} />
      </div>
      <div class="panel">
        <${PathPanel} ends=${ends} path=${path} stream=${`$lattice-${lattice.latticeId}`} />
        <${Overlays} overlay=${overlay} ends=${ends} siteCount=${shown.rows * shown.columns} />
        ${shape.length > 2 && html`<${Axes} shape=${shape} slice=${slice} setSlice=${setSlice} />`}
        <${FieldPanel} latticeId=${lattice.latticeId} reload=${fields.reload} fields=${fields.data} style=${style} setStyle=${setStyle} statistics=${statistics.data} />
        ${may("lattices.write") && !editing.isChanged && html`<${Turn} latticeId=${lattice.latticeId} changed=${() => {
          editing.discard();
          changed(null);
        }} />`}
        <${Components} latticeId=${lattice.latticeId} />
        <section><h2>About it</h2><${Facts} of=${[
          ["Steps lead", enumWord(lattice.neighbourhood, "NEIGHBOURHOOD_") === "moore" ? "diagonally, too" : "along one axis"],
          ["Its edges are", boundaryText(lattice.boundaries)],
          ["It takes", bytes(lattice.bytesHeld)],
          ["As a graph", bytes(lattice.bytesAsGraph)],
          ["As a matrix", bytes(lattice.bytesAsMatrix)],
          ["Id", html`<code>${lattice.latticeId}</code>`],
        ]} /></section>
      </div>
    </div>`;
}

/** @param {{ tool: string, setTool: (tool: string) => void, mayEdit: boolean, isReading: boolean, clear: () => void, hasEnds: boolean }} props */
function Tools({ tool, setTool, mayEdit, isReading, clear, hasEnds }) {
  const isEditor = (/** @type {string} */ name) => name === "block" || name === "free";
  const shown = TOOLS.filter(([name]) => mayEdit || !isEditor(name));
  const hint = { start: "Click the site where the path begins.", goal: "Click the site where it ends.", block: "Draw blocked sites, then save them.", free: "Erase blocked sites, then save.", pan: "Drag to move, use the wheel to zoom." }[tool];
  return html`<div class="tools">${shown.map(([name, text]) => html`<button type="button" class="second" aria-pressed=${tool === name} disabled=${isReading && isEditor(name)} onClick=${() => setTool(name)}>${text}</button>`)}${hasEnds && html`<button type="button" class="quiet" onClick=${clear}>Clear the path</button>`}<span class="faint" role="status">${isReading ? "Reading which sites are blocked …" : hint}</span></div>`;
}

/**
 * The lines of a path that lie in a slice.
 * @param {Slice} slice
 * @param {number[]} shape
 * @param {number[]} start
 * @param {FoundPath} path
 * @returns {[Place, Place][]}
 */
function linesIn(slice, shape, start, path) {
  const all = [...linesOf(shape, start, path.runs)];
  return all.filter(([from, end]) => isIn(slice, from) && isIn(slice, end)).map(([from, end]) => [placeOf(slice, from), placeOf(slice, end)]);
}

/**
 * @param {Slice} slice
 * @param {number[] | null} site
 * @param {string} color
 * @param {string} label
 */
const mark = (slice, site, color, label) => (site && isIn(slice, site) ? [{ place: placeOf(slice, site), color, label }] : []);

/**
 * A shortest path between two sites, found as soon as both are there.
 * @param {string} latticeId
 * @param {number[] | null} start
 * @param {number[] | null} goal
 */
function usePath(latticeId, start, goal) {
  const { data, error, isLoading, reload } = useLoad(async () => (start && goal ? findPath(latticeId, start, goal) : null), [latticeId, start, goal]);
  return { answer: error ? null : (data ?? null), error, isLoading: isLoading && Boolean(start && goal), again: reload };
}

/** @param {{ ends: Ends, path: { answer: { path: FoundPath, computation: Computation } | null, error: unknown, isLoading: boolean }, stream: string }} props */
function PathPanel({ ends: { start, goal }, path, stream }) {
  const answer = path.answer;
  return html`<section><h2>Path</h2>
    ${!(start && goal) && html`<p class="hint">Choose a start and a goal on the grid, and the shortest path between them is shown.</p>`}
    <${Facts} of=${[["Start", start ? siteText(start) : ""], ["Goal", goal ? siteText(goal) : ""]]} />
    <${Failure} error=${path.error} />
    <div role="status">${path.isLoading && "Looking for a path …"}${answer && !answer.path.found && html`<p><b>No way leads there.</b></p>`}
    ${answer?.path.found && html`<${Facts} of=${[["Length", number(answer.path.length)], ["Steps", count(answer.path.steps)]]} />`}</div>
    ${answer && html`<${How} computation=${answer.computation} /><p><a href=${to(["streams", stream])}>The events of this lattice</a></p>`}
  </section>`;
}

/** @param {{ computation: Computation }} props */
const How = ({ computation: { method, exact, elapsedNs, sitesExpanded, memoryBytes } }) => html`<p class="hint">${exact ? "Exact" : "Not exact"}, by ${enumWord(method, "METHOD_")} in ${computedIn(elapsedNs)}; ${counted(sitesExpanded, "site")} expanded, ${bytes(memoryBytes)} used.</p>`;

/**
 * What is drawn over the sites in sight: how far they are, which hang together, or where a path was
 * looked for.
 * @param {string} latticeId
 * @param {Slice} slice
 * @param {Area} area
 * @param {Ends} ends
 */
function useOverlay(latticeId, slice, area, ends) {
  const [kind, setKind] = useState("");
  const [layer, setLayer] = useState(/** @type {Layer | null} */ (null));
  const [words, setWords] = useState("");
  const latest = useRef(0);
  const show = useAction(async (/** @type {string} */ next, /** @type {Ends} */ { start, goal }) => {
    const mine = ++latest.current;
    setKind(next);
    const made =
      next === "distance" && start
        ? await distanceLayer(latticeId, slice, area, start)
        : next === "looked" && start && goal
          ? await lookedLayer(latticeId, slice, area, start, goal)
          : next === "components"
            ? await labelLayer(latticeId, slice, area)
            : { layer: null, words: "" };
    if (mine !== latest.current) return;
    setLayer(made.layer);
    setWords(made.words);
  });
  useEffect(() => {
    setKind("");
    setLayer(null);
    setWords("");
  }, [latticeId, JSON.stringify([slice, ends])]);
  return { kind, layer, words, show: show.run, error: show.error, isRunning: show.isRunning };
}

/** @param {string} latticeId @param {Slice} slice @param {Area} area @param {number[]} source */
async function distanceLayer(latticeId, slice, area, source) {
  const distances = await findDistances(latticeId, slice, area, source);
  const most = distances.reduce((last, next) => Math.max(last, next), 0);
  return { layer: { image: picture(distances, area.rows, area.columns, bySize(most)), area }, words: `From dark, 0, to yellow, ${number(most)}.` };
}

/** @param {string} latticeId @param {Slice} slice @param {Area} area */
async function labelLayer(latticeId, slice, area) {
  const labels = await findLabels(latticeId, slice, area);
  return { layer: { image: picture(labels, area.rows, area.columns, byLabel), area }, words: "A colour for each component." };
}

/** @param {string} latticeId @param {Slice} slice @param {Area} area @param {number[]} start @param {number[]} goal */
async function lookedLayer(latticeId, slice, area, start, goal) {
  const { sites, method } = await findLookedAt(latticeId, slice, area, start, goal);
  const many = sites.reduce((sum, next) => sum + (next > 0 ? 1 : 0), 0);
  const isJumping = method === "METHOD_JUMP_POINT";
  const words = many ? `The search has looked at ${counted(many, "site")} in sight${isJumping ? " and jumped over the others" : ", those beside the expanded ones included"}.` : "Nothing was looked at: the answer was known without a search.";
  return { layer: { image: picture(sites, area.rows, area.columns, lookedAt), area }, words };
}

/** @param {{ overlay: ReturnType<typeof useOverlay>, ends: Ends, siteCount: number }} props */
function Overlays({ overlay, ends, siteCount }) {
  const { start, goal } = ends;
  const toggle = (/** @type {string} */ kind) => overlay.show(overlay.kind === kind ? "" : kind, ends);
  const button = (/** @type {string} */ kind, /** @type {string} */ text, /** @type {boolean} */ isPossible) => html`<button type="button" class="second" aria-pressed=${overlay.kind === kind} disabled=${!isPossible || overlay.isRunning} onClick=${() => toggle(kind)}>${text}</button>`;
  return html`<section><h2>Over the sites</h2>
    <div class="actions">${button("distance", "Distance from the start", Boolean(start) && siteCount <= OVERLAY_SITES_MAX)}${button("looked", "Where the path was looked for", Boolean(start && goal) && siteCount <= OVERLAY_SITES_MAX)}${button("components", "Components", siteCount <= LABELS_MAX)}</div>
    <p class="hint" role="status">${overlay.isRunning ? "Computing …" : overlay.words || (start ? "" : "Choose a start to see how far each site is.")}</p>
    <${Failure} error=${overlay.error} />
  </section>`;
}

/**
 * Changes of blocked sites that are not saved yet: of this lattice, or as another one.
 * @param {Bitmap | null} original
 * @param {number[]} shape
 * @param {Slice} slice
 * @param {number} rows
 * @param {number} columns
 */
function useEditing(original, shape, slice, rows, columns) {
  const [bitmap, setBitmap] = useState(/** @type {Bitmap | null} */ (null));
  const [version, redraw] = useState(0);
  const isHeld = useRef(false);
  const picture = useMemo(() => bitmap?.picture(rows, columns, stridesOf(shape, slice)), [bitmap, slice]);
  const set = (/** @type {Place} */ place, /** @type {boolean} */ isBlocked) => {
    if (!original || isHeld.current) return;
    const edited = bitmap && bitmap !== original ? bitmap : original.copy();
    edited.set(indexOf(shape, siteAt(slice, place)), isBlocked);
    if (picture) paint(picture, place, isBlocked);
    setBitmap(edited);
    redraw((last) => last + 1);
  };
  const discard = () => setBitmap(null);
  // What is drawn while it is saved would be taken for saved.
  const hold = (/** @type {boolean} */ is) => {
    isHeld.current = is;
  };
  // Once it is saved it is the original itself, and stays in sight.
  return { bitmap, version, picture, set, hold, discard, isChanged: Boolean(bitmap) && bitmap !== original, isPossible: Boolean(original) && rows * columns <= EDITED_MAX };
}

/** @param {{ lattice: Lattice, shape: number[], editing: ReturnType<typeof useEditing>, original: Bitmap | null, changed: (bitmap: Bitmap | null) => void }} props */
function Save({ lattice, shape, editing, original, changed }) {
  const { bitmap } = editing;
  const once = useOnce();
  const here = useAction(async () => {
    const patch = bitmap && original ? patchOf(original, bitmap, shape) : null;
    editing.hold(true);
    try {
      // As long as nothing more is drawn: then it asks for something else.
      if (patch) await once((requestId) => writeBlocked(lattice.latticeId, patch, requestId), `here ${editing.version}`);
    } finally {
      editing.hold(false);
    }
    changed(bitmap);
  });
  const save = useAction(async () => {
    if (!bitmap) return;
    const { neighbourhood, cornerRule, boundaries } = lattice;
    const { latticeId } = await once((requestId) => createFrom(shape, bitmap, { neighbourhood, cornerRule, boundaries }, requestId), `new ${editing.version}`);
    go(to(["lattices", latticeId]));
  });
  if (!bitmap) return null;
  const isBusy = here.isRunning || save.isRunning;
  return html`<section class="unsaved" aria-label="What was drawn">
    <p><b>Not saved yet.</b> ${counted(bitmap.blockedCount, "site")} would be blocked.</p>
    <${Failure} error=${here.error ?? save.error} />
    <div class="actions"><button type="button" disabled=${isBusy} onClick=${() => here.run()}>Save</button><button type="button" class="second" disabled=${isBusy} onClick=${() => save.run()}>Save as a new lattice</button><button type="button" class="second" disabled=${isBusy} onClick=${editing.discard}>Discard</button></div>
  </section>`;
}

/** Back to the blocked sites before, and forth. @param {{ latticeId: string, changed: () => void }} props */
function Turn({ latticeId, changed }) {
  const once = useOnce();
  const action = useAction(async (/** @type {string} */ verb) => {
    const { ofRevision } = await once((requestId) => turnBlocked(latticeId, verb, requestId), verb);
    changed();
    return `${verb === "undo" ? "Undone" : "Done again"}: the change of revision ${count(ofRevision)}.`;
  });
  return html`<section><h2>Blocked sites</h2>
    <p class="hint">Choose Block or Erase above to draw on this lattice. Each change is kept, and may be undone.</p>
    <div class="actions"><button type="button" class="second" disabled=${action.isRunning} onClick=${() => action.run("undo")}>Undo the last change</button><button type="button" class="second" disabled=${action.isRunning} onClick=${() => action.run("redo")}>Redo the change</button></div>
    <p class="hint" role="status">${action.outcome}</p>
    <${Failure} error=${action.error} />
  </section>`;
}
