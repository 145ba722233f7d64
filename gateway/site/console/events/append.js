// An event by a form, with what must hold before it is stored.

import { post } from "../calls/api.js";
import { Head } from "../parts/basics.js";
import { Field, Form, Input, jsonOf, listOf, Select } from "../parts/forms.js";
import { html, useState } from "../parts/html.js";
import { useOnce } from "../parts/ids.js";
import { to } from "../parts/router.js";
import { count } from "../parts/words.js";

const EXPECTATIONS = /** @type {[string, string][]} */ ([
  ["", "nothing"],
  ["absent", "the stream has no events"],
  ["exists", "the stream has an event"],
  ["revision", "the stream is at a revision"],
  ["no-match", "no such event after a position"],
]);

/** @param {{ query: Record<string, string> }} props */
export function Page({ query }) {
  const [expected, setExpected] = useState(query.expect ?? "");
  const once = useOnce();
  const act = async (/** @type {Record<string, string>} */ values) => {
    const answer = await once((id) => post("/v1/events:append", { events: [eventOf(values, id)], preconditions: preconditionsOf(values) }));
    return { ...answer.placements[0], stream: values.stream };
  };
  const done = (/** @type {any} */ { position, revision, stream }) => html`Stored at <a href=${to(["events", position])}>position ${count(position)}</a>, revision ${count(revision)} of <a href=${to(["streams", stream])}>${stream}</a>.`;
  return html`<${Head} title="Append an event" lead="It is stored once, whatever happens on the way: the form sends the same id until an answer came." />
    <${Form} label="Append" act=${act} done=${done}>
      <div class="columns">
        <${Input} name="stream" label="Stream" value=${query.stream ?? ""} required=${true} placeholder="permit-1" hint="What the event is about." />
        <${Input} name="type" label="Type" value=${query.type ?? ""} required=${true} placeholder="submitted" hint="What happened." />
      </div>
      <${Field} label="Data (JSON)"><textarea name="json" spellcheck=${false} rows="8">${"{\n  \n}"}</textarea><//>
      <div class="columns">
        <${Input} name="tags" label="Tags" placeholder="urgent, region:north" hint="With commas between." />
        <${Input} name="schemaVersion" label="Schema version" type="number" min="0" placeholder="none" />
      </div>
      <${Field} label="Metadata (JSON of texts)"><textarea class="low" name="metadata" rows="2" spellcheck=${false} placeholder='{"source": "console"}'></textarea><//>
      <fieldset><legend>What must hold</legend>
        <${Select} name="expected" label="Only if" of=${EXPECTATIONS} value=${expected} onChange=${(/** @type {any} */ event) => setExpected(event.target.value)} />
        ${expected === "revision" && html`<${Input} name="revision" label="Revision" type="number" min="0" required=${true} value=${query.revision ?? ""} />`}
        ${expected === "no-match" && html`<div class="columns"><${Input} name="matchTypes" label="Types" /><${Input} name="matchTags" label="All of these tags" /><${Input} name="after" label="Behind position" type="number" min="0" value="0" /></div>`}
      </fieldset>
    <//>`;
}

/**
 * @param {Record<string, string>} values
 * @param {string} id
 */
function eventOf({ stream, type, json, tags, metadata, schemaVersion }, id) {
  return {
    id,
    stream: stream.trim(),
    type: type.trim(),
    json: jsonOf(json, "The data"),
    ...(tags ? { tags: listOf(tags) } : {}),
    ...(metadata.trim() ? { metadata: jsonOf(metadata, "The metadata") } : {}),
    ...(schemaVersion ? { schemaVersion: Number(schemaVersion) } : {}),
  };
}

/** @param {Record<string, string>} values */
function preconditionsOf({ expected, stream, revision, matchTypes, matchTags, after }) {
  const query = { ...(matchTypes ? { types: listOf(matchTypes) } : {}), ...(matchTags ? { tags: listOf(matchTags) } : {}) };
  return /** @type {Record<string, unknown[]>} */ ({
    "": [],
    absent: [{ stream, state: "STATE_ABSENT" }],
    exists: [{ stream, state: "STATE_EXISTS" }],
    revision: [{ stream, revision }],
    "no-match": [{ noMatch: { filter: { queries: [query] }, afterPosition: after || "0" } }],
  })[expected];
}
