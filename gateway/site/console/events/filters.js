// Which events of a log are wanted, in the words of `Query`, kept in the address of the page.

import { Input, listOf, wordsOf } from "../parts/forms.js";
import { html } from "../parts/html.js";
import { go, to } from "../parts/router.js";

/** @import { FilterQuery } from "../calls/types.js" */

const NAMES = ["types", "tags", "category", "prefix", "correlation"];

/**
 * What an address asks for; undefined where it asks for all.
 * @param {Record<string, string>} query
 * @returns {FilterQuery | undefined}
 */
export function filterOf({ types, tags, category, prefix, correlation }) {
  /** @type {FilterQuery} */
  const filter = {
    ...(types ? { types: listOf(types) } : {}),
    ...(tags ? { tags: listOf(tags) } : {}),
    ...(category ? { category } : {}),
    ...(prefix ? { streamPrefix: prefix } : {}),
    ...(correlation ? { correlationId: correlation } : {}),
  };
  return Object.keys(filter).length ? filter : undefined;
}

/** @param {{ query: Record<string, string> }} props */
export function Filters({ query }) {
  const isOn = NAMES.some((name) => query[name]);
  const submit = (/** @type {any} */ event) => {
    event.preventDefault();
    const values = Object.fromEntries([...new FormData(event.currentTarget)].map(([name, value]) => [name, String(value).trim()]));
    go(to(["events"], { ...values, category: wordsOf(values.category)[0] }));
  };
  return html`<details open=${isOn}><summary>Filter${isOn ? " (on)" : ""}</summary>
    <form onSubmit=${submit} key=${JSON.stringify(query)}>
      <div class="filters">
        <${Input} name="types" label="Types" value=${query.types} placeholder="granted, refused" />
        <${Input} name="tags" label="All of these tags" value=${query.tags} placeholder="urgent" />
        <${Input} name="category" label="Category" value=${query.category} placeholder="permit" />
        <${Input} name="prefix" label="Stream begins with" value=${query.prefix} placeholder="permit-2" />
        <${Input} name="correlation" label="Correlation id" value=${query.correlation} />
      </div>
      <div class="actions"><button type="submit">Show these</button>${isOn && html`<a class="button second" href="#/events">Show all</a>`}</div>
    </form>
  </details>`;
}
