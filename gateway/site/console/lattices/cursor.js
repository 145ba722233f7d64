// What is known of the site under the pointer.

import { html, useEffect, useState } from "../parts/html.js";
import { findValue } from "./calls.js";
import { indexOf, siteAt, siteText } from "./sites.js";

/** @import { Field, Lattice } from "../calls/types.js" */
/** @import { Bitmap } from "./bitmap.js" */
/** @import { Place, Slice } from "./sites.js" */

const CALM_MS = 100;

/** @param {{ lattice: Lattice, shape: number[], slice: Slice, place: Place | null, field: Field | null, blocked: Bitmap | null }} props */
export function Cursor({ lattice, shape, slice, place, field, blocked }) {
  const [value, setValue] = useState("");
  const site = place && siteAt(slice, place);
  const key = site ? siteText(site) : "";
  useEffect(() => {
    setValue("");
    if (!site || !field) return;
    const aborting = new AbortController();
    const timer = setTimeout(async () => {
      const next = await findValue(lattice.latticeId, field, site, aborting.signal).catch(() => null);
      if (next !== null && !aborting.signal.aborted) setValue(String(next));
    }, CALM_MS);
    return () => {
      clearTimeout(timer);
      aborting.abort();
    };
  }, [key, field?.name, field?.digest]);
  if (!site) return html`<p class="cursor faint">Point at a site.</p>`;
  const state = blocked ? (blocked.get(indexOf(shape, site)) ? "blocked" : "free") : "";
  return html`<p class="cursor">Site <b>${key}</b> ${state}${field && html` · ${field.name} = <b>${value || "…"}</b>`}</p>`;
}
