// One projection: its state, what was put aside, and the ways to steer it.

import { get, post } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Badge, Empty, Facts, Failure, Head, Loading, Time } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { Form, Select } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { useAction, useLoad, usePages } from "../parts/load.js";
import { to } from "../parts/router.js";
import { Table } from "../parts/table.js";
import { count, counted, duration, enumWord } from "../parts/words.js";
import { State } from "./projections.js";

/** @import { Projection } from "./projections.js" */
/** @typedef {{ position: string, stream: string, type: string, problem: string, heldBack: boolean, attemptCount: number, setAsideAt: string, pending: boolean }} Quarantined */

/** @param {{ projection: string }} props */
export function Page({ projection }) {
  const may = useMay();
  const path = `/v1/projections/${encodeURIComponent(projection)}`;
  const { data, error, reload } = useLoad(async (signal) => /** @type {Projection} */ ((await get(path, {}, signal)).projection), [path], { everyMs: 2000 });
  if (!data) return error ? html`<${Failure} error=${error} again=${reload} />` : html`<${Loading} />`;
  const mayChange = may("projections.write");
  return html`<${Head} title=${projection} lead=${html`<${State} state=${data.state} />`}>${mayChange && html`<${Steer} one=${data} path=${path} reload=${reload} />`}<//>
    <${Failure} error=${error} again=${reload} />
    ${data.problem && html`<div class="failure"><p><b>${data.problem}</b></p><p>${data.failedPosition !== "0" && html`At <a href=${to(["events", data.failedPosition])}>event ${count(data.failedPosition)}</a>, after ${count(data.attemptCount)} attempts. `}${enumWord(data.stopCause, "STOP_CAUSE_")}</p></div>`}
    ${data.rebuild && html`<${Rebuild} rebuild=${data.rebuild} head=${data.head} />`}
    <${Facts} of=${[
      ["Position", html`${count(data.position)} of ${count(data.head)}`],
      ["Behind", html`${counted(data.lagEvents, "event")}${data.lagS ? `, for ${duration(1000 * data.lagS)}` : ""}`],
      ["Applied", counted(data.eventCount, "event")],
      ["Moved last", html`<${Time} at=${data.movedAt} full=${true} />`],
      ["Wants", data.eventTypes.length ? data.eventTypes.map((type) => html`<a href=${to(["events"], { types: type })}>${type}</a> `) : "all events"],
      ["Version", data.definitionVersion],
      ["When an event cannot be applied", enumWord(data.poisonPolicy, "POISON_POLICY_")],
      ["When the log was replaced", enumWord(data.replacedPolicy, "REPLACED_POLICY_")],
    ]} />
    ${mayChange && html`<details><summary>Change what happens then</summary><${Policies} one=${data} path=${path} reload=${reload} /></details>`}
    <${Quarantine} path=${path} mayChange=${mayChange} changed=${reload} />`;
}

/** @param {{ rebuild: { cause: string, position: string, problem: string }, head: string }} props */
function Rebuild({ rebuild, head }) {
  const share = Number(head) ? Number(rebuild.position) / Number(head) : 0;
  return html`<p class="line"><${Badge} kind="warn">being built anew<//> <progress max="1" value=${share} aria-label="How far the rebuild is"></progress> ${count(rebuild.position)} of ${count(head)} events, because ${enumWord(rebuild.cause, "CAUSE_")}. ${rebuild.problem}</p>`;
}

/** @param {{ one: Projection, path: string, reload: () => void }} props */
function Steer({ one, path, reload }) {
  const act = useAction(async (/** @type {string} */ verb) => {
    await post(`${path}:${verb}`);
    reload();
  });
  const stands = one.state === "STATE_PAUSED" || one.state === "STATE_STOPPED";
  return html`<${Failure} error=${act.error} />
    ${stands ? html`<button type="button" disabled=${act.isRunning} onClick=${() => act.run("resume")}>Resume</button>` : html`<button type="button" class="second" disabled=${act.isRunning} onClick=${() => act.run("pause")}>Pause</button>`}
    <${Confirmed} label="Rebuild" isDanger=${false} title=${`Build ${one.projection} anew`} question=${html`<p>It is built from the first event on, beside the one that is read, which takes its place when it has caught up.</p>`} act=${() => post(`${path}:rebuild`)} done=${reload} />`;
}

/** @param {{ one: Projection, path: string, reload: () => void }} props */
function Policies({ one, path, reload }) {
  const act = async (/** @type {Record<string, string>} */ values) => {
    await post(`${path}:setPolicies`, values);
    reload();
  };
  return html`<${Form} label="Set" act=${act} done="This holds from now on.">
    <${Select} name="poisonPolicy" label="When an event cannot be applied" value=${one.poisonPolicy} of=${[["POISON_POLICY_STOP", "stop, until somebody resumes it"], ["POISON_POLICY_QUARANTINE", "put its stream aside"]]} />
    <${Select} name="replacedPolicy" label="When the log was replaced" value=${one.replacedPolicy} of=${[["REPLACED_POLICY_REBUILD", "build it anew"], ["REPLACED_POLICY_STOP", "stop"]]} />
  <//>`;
}

/** @param {{ path: string, mayChange: boolean, changed: () => void }} props */
function Quarantine({ path, mayChange, changed }) {
  const find = async (/** @type {string} */ pageToken, /** @type {AbortSignal} */ signal) => {
    const { events, nextPageToken } = await get(`${path}/quarantine`, { pageToken }, signal);
    return { items: /** @type {Quarantined[]} */ (events), next: nextPageToken };
  };
  const pages = usePages(find, [path]);
  const done = () => {
    pages.reload();
    changed();
  };
  /** @type {import("../parts/table.js").Column<Quarantined>[]} */
  const columns = [
    { title: "Event", cell: ({ position, type }) => html`<a href=${to(["events", position])}>${count(position)} ${type}</a>` },
    { title: "Stream", cell: ({ stream }) => html`<a href=${to(["streams", stream])}>${stream}</a>` },
    { title: "Why", cell: ({ problem, heldBack }) => (heldBack ? "one before it in its stream is put aside" : problem) },
    { title: "Attempts", isNumber: true, cell: ({ attemptCount }) => count(attemptCount) },
    { title: "Since", cell: ({ setAsideAt }) => html`<${Time} at=${setAsideAt} />` },
    ...(mayChange ? [{ title: "", cell: (/** @type {Quarantined} */ one) => html`<div class="actions"><${Confirmed} label="Replay its stream" isDanger=${false} title=${`Replay ${one.stream}`} question=${html`<p>What is put aside of this stream is applied again, in order.</p>`} act=${() => post(`${path}/quarantine:replay`, { stream: one.stream })} done=${done} /><${Confirmed} label="Discard" title=${`Discard event ${one.position}`} question=${html`<p>This projection never applies it. The event stays in the log.</p>`} act=${() => post(`${path}/quarantine/${one.position}:discard`)} done=${done} /></div>` }] : []),
  ];
  return html`<h2>Quarantine</h2><${Table} label="Quarantine" keyOf=${(/** @type {Quarantined} */ one) => one.position} columns=${columns} ...${pages} empty=${html`<${Empty} title="Nothing is put aside"><p>Events that cannot be applied come here, where the policy says so.</p><//>`} />`;
}
