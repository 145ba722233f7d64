// One event by its position, with a page of its own.

import { Head } from "../parts/basics.js";
import { html } from "../parts/html.js";
import { to } from "../parts/router.js";
import { count } from "../parts/words.js";
import { EventDetail } from "./event.js";

/** @param {{ position: string }} props */
export const Page = ({ position }) => html`<${Head} title=${`Event ${count(position)}`}><a class="button second" href=${to(["events"], { from: position, event: position })}>Show it in the log</a><//>
  <div class="event"><${EventDetail} position=${position} /></div>`;
