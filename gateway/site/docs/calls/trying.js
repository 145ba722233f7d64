// Trying a call: a form for its parameters, the answer, and the same call as a program.

import { printAnswer, withShortLists } from "./answers.js";
import { copyText } from "../../shared/copying.js";
import { LANGUAGES } from "../../shared/samples.js";
import { element, messageOf, replace } from "../dom.js";
import { api, example, firstForm, isArray, placeholder, resolveSchema } from "../schema.js";
import { adopt, bearer, logIn } from "../session.js";

/** @import { Call } from "../../shared/samples.js" */
/** @import { Parameter, Route } from "../types.js" */
/** @typedef {{ input: HTMLInputElement | HTMLSelectElement, label: HTMLLabelElement }} Input */
/** @typedef {{ send: HTMLButtonElement, stop: HTMLButtonElement, result: HTMLElement }} CallView */

const ROWS_MAX = 18;

const STREAMS = ["application/x-ndjson", "text/event-stream"];

/**
 * Ids that answers told, by the names that parameters have: `latticeId`. They are put where
 * such a parameter is still empty.
 * @type {Map<string, string>}
 */
const seen = new Map();

/** @param {Route} route */
export function drawTry(route) {
  /** @type {[Parameter, Input][]} */
  const inputs = route.parameters.map((parameter) => [parameter, drawInput(parameter)]);
  const [own, others] = [inputs.filter(([{ in: place }]) => place !== "header"), inputs.filter(([{ in: place }]) => place === "header")];
  const accept = isStream(route) ? drawChoice("Accept", STREAMS) : null;
  const media = Object.entries(route.requestBody?.content ?? {})[0];
  const text = media ? element("textarea", { spellcheck: "false", "aria-label": "Body" }) : null;
  if (text) {
    text.value = bodyExample(route);
    text.rows = Math.min(ROWS_MAX, text.value.split("\n").length + 1);
  }
  const send = element("button", { type: "submit" }, "Send");
  const stop = element("button", { type: "button", class: "quiet", hidden: "" }, "Stop");
  const result = element("div", { class: "result", "aria-live": "polite" });
  const labels = [...own.map(([, { label }]) => label), ...(accept ? [accept.label] : [])];
  const form = element("form", { class: "try" }, [
    element("h3", {}, "Try it"),
    ...(labels.length ? [element("div", { class: "inputs" }, labels)] : []),
    ...(text ? [element("div", { class: "body" }, [element("span", {}, media ? media[0] : ""), text])] : []),
    ...(others.length ? [element("details", { class: "inner" }, [element("summary", {}, "headers"), element("div", { class: "inputs" }, others.map(([, { label }]) => label))])] : []),
    element("div", { class: "actions" }, [send, stop, element("span", { class: "hint" }, "Ctrl + Enter sends")]),
    result,
    drawSamples(() => callOf(route, inputs, text, accept)),
  ]);
  for (const [parameter, { input }] of inputs) input.addEventListener("focus", () => input.value || fillIn(parameter, input));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    make(callOf(route, inputs, text, accept), { send, stop, result });
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  // Where ids were told since, they are there when the route is looked at.
  new IntersectionObserver(() => {
    for (const [parameter, { input }] of inputs) if (!input.value) fillIn(parameter, input);
  }).observe(form);
  return form;
}

/**
 * @param {Parameter} parameter
 * @param {HTMLInputElement | HTMLSelectElement} input
 */
function fillIn({ name, required }, input) {
  const value = required ? seen.get(name) : "";
  if (!value) return;
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/**
 * The example of the contract, or one made of the schema.
 * @param {Route} route
 */
function bodyExample(route) {
  const [type, media] = Object.entries(route.requestBody?.content ?? {})[0];
  const value = media.example ?? example(media.schema);
  return type === STREAMS[0] ? JSON.stringify(value) : withShortLists(JSON.stringify(value, null, 2));
}

/**
 * The call as several programs, written anew with each change.
 * @param {() => Call} call
 */
function drawSamples(call) {
  const code = element("pre", { class: "program", tabindex: 0 });
  const copy = element("button", { type: "button", class: "quiet" }, "Copy");
  const names = Object.keys(LANGUAGES);
  let chosen = names[0];
  const write = () => replace(code, LANGUAGES[chosen](call()));
  const tabs = names.map((name) => element("button", { type: "button", class: "quiet", "aria-pressed": String(name === chosen) }, name));
  for (const tab of tabs) {
    tab.addEventListener("click", () => {
      chosen = tab.textContent ?? chosen;
      for (const other of tabs) other.setAttribute("aria-pressed", String(other === tab));
      write();
    });
  }
  copy.addEventListener("click", async () => {
    const isCopied = await copyText(code.textContent ?? "");
    if (!isCopied) getSelection()?.selectAllChildren(code);
    copy.textContent = isCopied ? "Copied" : "Selected";
    setTimeout(() => {
      copy.textContent = "Copy";
    }, 1500);
  });
  const samples = element("div", { class: "samples" }, [element("div", { class: "tabs" }, [...tabs, copy]), code]);
  queueMicrotask(() => {
    write();
    samples.closest("form")?.addEventListener("input", write);
  });
  return samples;
}

/**
 * @param {Parameter} parameter
 * @returns {Input}
 */
function drawInput(parameter) {
  const { name } = parameter;
  const schema = firstForm(parameter.schema);
  const values = resolveSchema(schema.items ?? schema).enum ?? (schema.type === "boolean" ? ["true", "false"] : null);
  if (values) return drawChoice(name, ["", ...values], parameter.required);
  const hint = parameter.example ?? (isArray(schema) ? "a, b, c" : (schema.format ?? ""));
  const input = element("input", { placeholder: hint, autocomplete: "off", spellcheck: "false" });
  // What may be left out is left out: an example of a filter would hide what there is.
  if (parameter.required && parameter.example !== undefined) input.value = parameter.example;
  input.required = Boolean(parameter.required);
  return labelled(name, input, parameter.required);
}

/**
 * @param {string} name
 * @param {string[]} values
 * @param {boolean} [required]
 */
function drawChoice(name, values, required) {
  return labelled(name, element("select", {}, values.map((value) => element("option", { value }, value))), required);
}

/**
 * @param {string} name
 * @param {HTMLInputElement | HTMLSelectElement} input
 * @param {boolean} [required]
 * @returns {Input}
 */
function labelled(name, input, required) {
  return { input, label: element("label", {}, [element("span", {}, required ? `${name} *` : name), input]) };
}

/** @param {Route} route */
function isStream(route) {
  return Object.values(route.responses).some((response) => response.content?.["text/event-stream"]);
}

/**
 * What the form asks for. Where something must be and is not, its name stands in its place: what
 * is copied shows what is missing.
 * @param {Route} route
 * @param {[Parameter, Input][]} inputs
 * @param {HTMLTextAreaElement | null} text
 * @param {Input | null} accept
 * @returns {Call}
 */
function callOf(route, inputs, text, accept) {
  let path = route.path;
  const query = new URLSearchParams();
  /** @type {Record<string, string>} */
  const headers = {};
  /** @type {Record<string, string>} */
  const values = {};
  for (const [parameter, { input }] of inputs) {
    const value = input.value.trim() || (parameter.required ? placeholder(parameter.name) : "");
    if (!value) continue;
    values[parameter.name] = value;
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (parameter.in === "header") headers[parameter.name] = value;
    else for (const one of isArray(parameter.schema) ? value.split(",") : [value]) query.append(parameter.name, one.trim());
  }
  if (text) headers["Content-Type"] = Object.keys(route.requestBody?.content ?? {})[0];
  if (accept) headers.Accept = accept.input.value;
  const search = query.toString();
  return {
    operationId: route.operationId,
    method: route.method.toUpperCase(),
    url: path + (search ? `?${search}` : ""),
    headers,
    values,
    body: text?.value,
    isStream: Boolean(accept),
    isPublic: !(route.security ?? api.security ?? []).length,
  };
}

/**
 * @param {Call} call
 * @param {CallView} view
 */
async function make(call, { send, stop, result }) {
  const stopper = new AbortController();
  const started = performance.now();
  stop.onclick = () => stopper.abort();
  send.disabled = true;
  stop.hidden = false;
  const printed = element("div", { class: "printed" });
  try {
    const token = call.isPublic ? "" : await bearer();
    const headers = token ? { ...call.headers, Authorization: `Bearer ${token}` } : call.headers;
    const answer = await fetch(call.url, { method: call.method, headers, body: call.body, signal: stopper.signal });
    const again = answer.status === 401 && !call.isPublic ? [drawLogIn(() => make(call, { send, stop, result }))] : [];
    replace(result, [statusLine(answer, performance.now() - started), ...again, printed]);
    const text = await printAnswer(answer, printed);
    if (answer.ok) remember(text);
  } catch (error) {
    const words = element("p", { class: "hint" }, stopper.signal.aborted ? "Stopped." : `No answer: ${messageOf(error)}`);
    if (printed.isConnected) printed.append(words);
    else replace(result, words);
  } finally {
    send.disabled = false;
    stop.hidden = true;
  }
}

/**
 * @param {Response} answer
 * @param {number} duration
 */
function statusLine(answer, duration) {
  return element("div", { class: "line" }, [
    element("b", { class: answer.ok ? "good" : "bad" }, `${answer.status} ${answer.statusText}`),
    element("span", {}, `${Math.round(duration)} ms`),
    element("span", {}, `X-Correlation-ID ${answer.headers.get("X-Correlation-ID")}`),
  ]);
}

/** @param {() => void} again */
function drawLogIn(again) {
  const button = element("button", { type: "button" }, "Log in and send again");
  button.addEventListener("click", async () => {
    if (await logIn()) again();
  });
  return element("p", {}, button);
}

/**
 * Keeps tokens and ids of an answer, for the calls that come.
 * @param {string} text
 */
function remember(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return;
  }
  adopt(value);
  for (const [name, id] of idsOf(value)) seen.set(name, id);
}

/**
 * @param {unknown} value
 * @returns {Generator<[string, string]>}
 */
function* idsOf(value) {
  if (typeof value !== "object" || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    if (/(^stream|Id|Name)$/.test(name) && typeof inner === "string" && inner) yield [name, inner];
    else yield* idsOf(inner);
  }
}
