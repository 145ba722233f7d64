// One stream: its events live, what is known of it, how long its events are kept, and its end.

import { call, getExactly } from "../calls/api.js";
import { useMay } from "../calls/identity.js";
import { Empty, Facts, Failure, Head, Time } from "../parts/basics.js";
import { Confirmed } from "../parts/dialogs.js";
import { Field, Form, Input, jsonOf } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { Tree } from "../parts/json.js";
import { useLoad } from "../parts/load.js";
import { go, to } from "../parts/router.js";
import { count, counted, duration } from "../parts/words.js";
import { Log } from "./log.js";
import { EventAside } from "./log_page.js";
import { ended } from "./streams.js";

/** @import { StreamInfo } from "../calls/types.js" */

/** @param {{ stream: string, query: Record<string, string> }} props */
export function Page({ stream, query }) {
  const may = useMay();
  const path = `/v1/streams/${encodeURIComponent(stream)}`;
  const { data, error, reload } = useLoad((signal) => getExactly(path, {}, signal), [path], { everyMs: 10_000 });
  const { event, ...rest } = query;
  const isOwn = stream.startsWith("$");
  const empty = html`<${Empty} title="This stream has no events"><p>It is there with its first event, and those that are appended are shown here at once.</p>${may("events.append") && !isOwn && html`<p><a href=${to(["append"], { stream })}>Append one</a></p>`}<//>`;
  return html`<${Head} title=${stream} lead=${data && html`${counted(data.eventCount, "event")}, the last <${Time} at=${data.updatedAt} /> ${ended(data.ending)}`}>
      ${may("events.append") && !isOwn && html`<a class="button" href=${to(["append"], { stream })}>Append an event</a>`}<//>
    ${error && /** @type {any} */ (error).status !== 404 && html`<${Failure} error=${error} again=${reload} />`}
    <div class=${event ? "log with-event" : "log"}>
      <${Log} path=${`${path}/events`} query=${{}} isStream=${true} here=${["streams", stream]} place=${query} empty=${empty} />
      ${event && html`<${EventAside} position=${event} close=${() => go(to(["streams", stream], rest))} />`}
    </div>
    ${data && html`<${About} info=${data} path=${path} reload=${reload} />`}`;
}

/** @param {{ info: StreamInfo, path: string, reload: () => void }} props */
function About({ info, path, reload }) {
  const may = useMay();
  const mayChange = may("streams.write") && !info.stream.startsWith("$");
  const { maxAgeS, maxCount, truncateBefore } = info.retention ?? {};
  const kept = [maxAgeS && `those of the last ${duration(1000 * Number(maxAgeS))}`, maxCount && `the last ${count(maxCount)}`, truncateBefore && `from revision ${count(truncateBefore)} on`].filter(Boolean);
  return html`<h2>About this stream</h2><${Facts} of=${[
    ["First event", html`<${Time} at=${info.createdAt} full=${true} />`],
    ["Last event", html`<${Time} at=${info.updatedAt} full=${true} />`],
    ["Revisions", `${count(info.firstRevision)} to ${count(info.lastRevision)}`],
    ["Kept", kept.length ? kept.join(", and only ") : "all events"],
    ["Metadata", info.metadata ? html`<${Tree} value=${info.metadata} />` : "none"],
  ]} />
  ${mayChange && html`<div class="columns">
    <details><summary>Change what is kept</summary><${Retention} info=${info} path=${path} reload=${reload} /></details>
    <details><summary>Change metadata</summary><${Metadata} info=${info} path=${path} reload=${reload} /></details>
    <details><summary>End this stream</summary><${Ending} info=${info} path=${path} reload=${reload} /></details>
  </div>`}`;
}

/** @param {{ info: StreamInfo, path: string, reload: () => void }} props */
function Retention({ info, path, reload }) {
  const old = info.retention ?? {};
  const act = async (/** @type {Record<string, string>} */ values) => {
    const retention = Object.fromEntries(Object.entries(values).filter(([, value]) => value));
    await call("PUT", `${path}/retention`, { body: { retention } });
    reload();
  };
  return html`<${Form} label="Set" act=${act} done="This holds from now on.">
    <p class="hint">What no rule keeps is read by nobody any longer, and leaves the disk after some time. Empty keeps all.</p>
    <${Input} name="maxAgeS" label="At most so many seconds old" type="number" min="1" value=${old.maxAgeS} />
    <${Input} name="maxCount" label="The last so many" type="number" min="1" value=${old.maxCount} />
    <${Input} name="truncateBefore" label="From this revision on" type="number" min="0" value=${old.truncateBefore} />
  <//>`;
}

/** @param {{ info: StreamInfo, path: string, reload: () => void }} props */
function Metadata({ info, path, reload }) {
  const act = async (/** @type {Record<string, string>} */ { metadata }) => {
    await call("PUT", `${path}/metadata`, { body: { metadata: jsonOf(metadata, "The metadata"), expectedVersion: info.metadataVersion ?? "0" } });
    reload();
  };
  return html`<${Form} label="Set" act=${act} done="Set.">
    <${Field} label="Metadata" hint="A JSON of at most 8 KiB. Refused when somebody else changed it meanwhile."><textarea name="metadata" spellcheck=${false}>${JSON.stringify(info.metadata ?? {}, null, 2)}</textarea><//>
  <//>`;
}

/** @param {{ info: StreamInfo, path: string, reload: () => void }} props */
function Ending({ info, path, reload }) {
  const expected = { expectedRevision: info.lastRevision };
  return html`<p class="hint">Both are refused when an event came after revision ${count(info.lastRevision)}.</p><div class="actions">
    <${Confirmed} label="Delete" title="Delete this stream" typed=${info.stream} done=${reload} act=${() => call("DELETE", path, { query: expected })}
      question=${html`<p>Its ${counted(info.eventCount, "event")} are read by nobody any longer. It may be written again.</p>`} />
    <${Confirmed} label="Close for ever" title="Close this stream for ever" typed=${info.stream} done=${reload} act=${() => call("POST", `${path}/tombstone`, { body: expected })}
      question=${html`<p>Its ${counted(info.eventCount, "event")} are read by nobody any longer, and nothing can be appended to it again.</p>`} />
  </div>`;
}
