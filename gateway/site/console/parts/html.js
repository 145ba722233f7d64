// The one way to make elements: `html` with templates, and what keeps state between drawings.
// Texts become text nodes, whatever is in them; there is no way to markup from here.

import htm from "../vendor/htm.js";
import { h } from "../vendor/preact.js";

export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
export { Component, Fragment, render } from "../vendor/preact.js";

/** @import { VNode, ComponentChildren } from "../vendor/preact.js" */

/** @typedef {VNode | null} Drawn */
/** @typedef {ComponentChildren} Children */

/** @type {(strings: TemplateStringsArray, ...values: unknown[]) => VNode} */
export const html = /** @type {any} */ (htm.bind(/** @type {any} */ (h)));
