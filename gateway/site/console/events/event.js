// One event: what it says, where it is, whom it comes from, and where it leads.

import { call, stream } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Badge, Copy, Empty, Facts, Failure, Loading, Time } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { Field } from "../parts/forms.js";
import { html, useState } from "../parts/html.js";
import { exactly, Tree } from "../parts/json.js";
import { useLoad } from "../parts/load.js";
import { to } from "../parts/router.js";
import { count, enumWord } from "../parts/words.js";
import { asCurl, asPython, printed } from "./event_samples.js";

/** @import { Recorded } from "../calls/types.js" */

/** @param {{ position: string, close?: () => void }} props */
export function EventDetail({ position, close }) {
  const { data, error, reload } = useLoad((signal) => find(position, signal), [position]);
  const button = close && html`<button type="button" class="quiet" aria-label="Close the event" onClick=${close}>✕</button>`;
  if (error) return html`${button}<${Failure} error=${error} again=${reload} />`;
  if (!data) return html`${button}<${Loading} what=${`Reading event ${position}`} />`;
  if (!data.recorded) return html`${button}<${Empty} title="There is no such event"><p>The log has none at position ${count(position)}.</p><//>`;
  return html`<${Shown} recorded=${data.recorded} text=${data.text} button=${button} reload=${reload} />`;
}

/**
 * @param {string} position
 * @param {AbortSignal} signal
 * @returns {Promise<{ recorded?: Recorded, text: string }>}
 */
async function find(position, signal) {
  for await (const { text } of stream("GET", "/v1/events", { query: { fromPosition: position, limit: 1, includeGone: true }, signal })) {
    const recorded = JSON.parse(text);
    if (recorded.position === position) return { recorded, text };
  }
  return { text: "" };
}

/** @param {{ recorded: Recorded, text: string, button: any, reload: () => void }} props */
function Shown({ recorded, text, button, reload }) {
  const { position, revision, event, context } = recorded;
  return html`<div class="head"><h2>${event.type}</h2>${button}</div>
    ${recorded.gone && html`<p><${Badge} kind="warn">its payload is gone<//> ${enumWord(recorded.gone.reason, "GONE_REASON_")}, <${Time} at=${recorded.gone.at} /></p>`}
    <${Facts} of=${[
      ["Stream", html`<a href=${to(["streams", event.stream])}>${event.stream}</a>`],
      ["Position", html`<a href=${to(["events", position])}>${count(position)}</a>, revision ${count(revision)}`],
      ["Recorded", html`<${Time} at=${recorded.recordedAt} full=${true} />`],
      ["By", context.actor],
      ["Trace", html`<a href=${to(["traces", context.correlationId], { event: position })}>${context.correlationId}</a>`],
      ["Caused by", context.causationId && html`<code>${context.causationId}</code>`],
      ["Id", html`<code>${event.id}</code>`],
      ["Schema version", event.schemaVersion ? String(event.schemaVersion) : ""],
      ["Tags", event.tags.length ? event.tags.map((tag) => html`<a class="badge plain" href=${to(["events"], { tags: tag })}>${tag}</a> `) : ""],
      ["Metadata", Object.keys(event.metadata).length ? html`<${Tree} value=${event.metadata} />` : ""],
    ]} />
    <p class="line">
      <a href=${to(["traces", context.correlationId], { event: position })}>What it caused</a>
      <a href=${to(["events"], { types: event.type })}>All of its type</a>
      <a href=${to(["events"], { category: event.stream.split("-")[0] })}>All of its category</a>
    </p>
    <${Payload} recorded=${recorded} text=${text} />
    <${Redact} recorded=${recorded} done=${reload} />`;
}

/** @param {{ recorded: Recorded, text: string }} props */
function Payload({ recorded, text }) {
  const [way, setWay] = useState("tree");
  const ways = [["tree", "Tree"], ["raw", "Raw"], ["curl", "curl"], ["python", "Python"]];
  const shown = { raw: () => printed(text), curl: () => asCurl(text), python: () => asPython(text) }[way];
  return html`<div class="tabs" role="group" aria-label="How to show the payload">${ways.map(([name, label]) => html`<button type="button" aria-pressed=${way === name} onClick=${() => setWay(name)}>${label}</button>`)}</div>
    ${shown ? html`<p class="line"><${Copy} text=${shown()} /></p><pre tabindex="0">${shown()}</pre>` : html`<${Tree} value=${payload(recorded, text)} />`}`;
}

/**
 * @param {Recorded} recorded
 * @param {string} text
 */
function payload({ event }, text) {
  if (event.binary) return { contentType: event.contentType, base64: event.binary };
  return /** @type {any} */ (exactly(text)).event.json ?? null;
}

/** @param {{ recorded: Recorded, done: () => void }} props */
function Redact({ recorded, done }) {
  const may = useMay();
  const [reason, setReason] = useState("");
  if (!may("streams.write") || recorded.gone || recorded.event.stream.startsWith("$")) return null;
  const question = html`<p>Its payload, metadata and tags are taken away for ever. Position, revision and digest stay.</p>
    <${Field} label="Why" hint="Everybody who may read the log reads it."><input value=${reason} required=${true} maxlength=${1000} onInput=${(/** @type {any} */ event) => setReason(event.target.value)} /><//>`;
  const act = () => call("POST", `/v1/events/${recorded.position}:redact`, { body: { reason } });
  return html`<p><${Confirmed} label="Redact" title=${`Redact event ${recorded.position}`} question=${question} act=${act} done=${done} typed=${recorded.position} /></p>`;
}
