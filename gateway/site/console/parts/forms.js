// Fields with their names and hints, read from a form when it is sent.

import { Failure } from "./basics.js";
import { html, useState } from "./html.js";
import { exactly } from "./json.js";
import { useAction } from "./load.js";

/** @import { Children } from "./html.js" */

/**
 * @param {{ label: string, hint?: Children, children: Children }} props
 */
export const Field = ({ label, hint, children }) => html`<label class="field"><span>${label}</span>${children}${hint && html`<span class="hint">${hint}</span>`}</label>`;

/**
 * @param {{ name: string, label: string, value?: string | number, hint?: Children, type?: string } & Record<string, unknown>} props
 */
export const Input = ({ label, hint, type = "text", ...rest }) => html`<${Field} label=${label} hint=${hint}><input type=${type} autocomplete="off" spellcheck=${false} ...${rest} /><//>`;

/**
 * @param {{ name: string, label: string, of: [value: string, text: string][], value?: string, hint?: Children } & Record<string, unknown>} props
 */
export const Select = ({ label, hint, of, value, ...rest }) => html`<${Field} label=${label} hint=${hint}><select ...${rest}>${of.map(([one, text]) => html`<option value=${one} selected=${one === value}>${text}</option>`)}</select><//>`;

/**
 * A form that says how it went. `act` gets its values by their names.
 * @param {{ label: string, act: (values: Record<string, string>, form: HTMLFormElement) => Promise<unknown>, done?: Children | ((outcome: any) => Children), children?: Children, class?: string }} props
 */
export function Form({ label, act, done, children, class: kind = "" }) {
  const [outcome, setOutcome] = useState(/** @type {unknown} */ (null));
  const action = useAction(async (/** @type {HTMLFormElement} */ form) => {
    setOutcome(null);
    const values = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]));
    setOutcome((await act(values, form)) ?? true);
  });
  const submit = (/** @type {any} */ event) => {
    event.preventDefault();
    action.run(event.currentTarget);
  };
  return html`<form class=${`form ${kind}`} onSubmit=${submit}>
    ${children}
    <${Failure} error=${action.error} />
    <div class="actions"><button type="submit" disabled=${action.isRunning}>${action.isRunning ? "Working …" : label}</button>
      <span role="status">${outcome !== null && (typeof done === "function" ? done(outcome) : done)}</span></div>
  </form>`;
}

/** A value of a form that is JSON, each number as it was written; throws one that says which. */
export function jsonOf(/** @type {string} */ text, /** @type {string} */ what) {
  try {
    return /** @type {any} */ (exactly(text));
  } catch (error) {
    throw new Error(`${what} is no JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/** Words between commas or spaces. */
export const wordsOf = (/** @type {string | undefined} */ text) => (text ?? "").split(/[,\s]+/).filter(Boolean);

/** Whole texts between commas. */
export const listOf = (/** @type {string | undefined} */ text) => (text ?? "").split(",").map((one) => one.trim()).filter(Boolean);
