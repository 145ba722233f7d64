// Questions before what cannot be undone, and forms above a page.

import { Failure } from "./basics.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { useAction } from "./load.js";

/** @import { Children } from "./html.js" */

/**
 * @param {{ title: string, close: () => void, children?: Children }} props
 */
export function Dialog({ title, close, children }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return html`<dialog ref=${dialog} aria-label=${title} onClose=${close}>
    <div class="head"><h2>${title}</h2><button type="button" class="quiet" aria-label="Close" onClick=${close}>✕</button></div>
    ${children}
  </dialog>`;
}

/**
 * A button that asks first. Where `typed` is given, its text must be typed.
 * @param {{ label: string, title: string, question: Children, act: () => Promise<unknown>, done?: () => void, typed?: string, isDanger?: boolean }} props
 */
export function Confirmed({ label, title, question, act, done = () => {}, typed = "", isDanger = true }) {
  const [isOpen, setOpen] = useState(false);
  return html`<button type="button" class=${isDanger ? "danger second" : "second"} onClick=${() => setOpen(true)}>${label}</button>
    ${isOpen && html`<${Question} ...${{ label, title, question, act, done, typed, isDanger, close: () => setOpen(false) }} />`}`;
}

/**
 * @param {{ label: string, title: string, question: Children, act: () => Promise<unknown>, done: () => void, typed: string, isDanger: boolean, close: () => void }} props
 */
function Question({ label, title, question, act, done, typed, isDanger, close }) {
  const [text, setText] = useState("");
  const action = useAction(async () => {
    await act();
    close();
    done();
  });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    action.run();
  };
  return html`<${Dialog} title=${title} close=${close}>
    <form onSubmit=${submit}>
      <div>${question}</div>
      ${typed && html`<label>Type <code>${typed}</code> to go on <input value=${text} autocomplete="off" spellcheck=${false} onInput=${(/** @type {any} */ event) => setText(event.target.value)} /></label>`}
      <${Failure} error=${action.error} />
      <div class="actions">
        <button type="submit" class=${isDanger ? "danger" : ""} disabled=${action.isRunning || text !== typed}>${label}</button>
        <button type="button" class="second" onClick=${close}>Cancel</button>
      </div>
    </form>
  <//>`;
}
