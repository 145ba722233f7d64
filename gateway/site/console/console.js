// Starts the console: who is logged in, which page the address asks for, and the frame around it.

import { keepSession } from "../shared/session.js";
import { watchConnection } from "./calls/connection.js";
import { noteSession } from "./calls/identity.js";
import { html, render } from "./parts/html.js";
import { Shell } from "./shell.js";

const place = /** @type {HTMLElement} */ (document.getElementById("console"));

keepSession(noteSession);
watchConnection();
place.replaceChildren();
render(html`<${Shell} />`, place);
