// Draws the page from openapi.json, and makes calls. Needs nothing from anywhere else.

import { byId, element, first, messageOf, replace } from "./dom.js";
import { adopt, bearer, setUpSession } from "./session.js";

/** @import { Answer, Content, Document, Health, Parameter, Reference, Route, Schema, Tag } from "./openapi.js" */
/** @import { Child } from "./dom.js" */
/** @typedef {{ input: HTMLInputElement | HTMLSelectElement, label: HTMLLabelElement }} Input */
/** @typedef {{ method: string, url: string, headers: Record<string, string>, body?: string, isPublic: boolean }} CallRequest */
/** @typedef {{ send: HTMLButtonElement, stop: HTMLButtonElement, result: HTMLElement }} CallView */

const METHODS = ["get", "put", "post", "patch", "delete"];
const STREAMS = ["application/x-ndjson", "text/event-stream"];
const SHOWN_LINES_MAX = 500;
/** @type {Document} */
let api;

main();

async function main() {
  setUpTheme();
  setUpKeys();
  setUpSession();
  try {
    api = await (await fetch("/openapi.json")).json();
  } catch (error) {
    replace(byId("content"), element("p", { class: "loading" }, `The contract cannot be read: ${messageOf(error)}`));
    return;
  }
  byId("version").textContent = api.info.version;
  const tags = api.tags.map((tag) => ({ ...tag, routes: routesOf(tag.name) }));
  drawMenu(tags);
  drawContent(tags);
  setUpSearch();
  openFromAddress();
  addEventListener("hashchange", openFromAddress);
  showHealth();
  setInterval(showHealth, 10000);
}

/**
 * @param {string} tag
 * @returns {Route[]}
 */
function routesOf(tag) {
  return Object.entries(api.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      if (!operation?.tags.includes(tag)) return [];
      const parameters = [...(operation.parameters ?? []), ...(item.parameters ?? [])].map(resolve);
      return [{ path, method, ...operation, parameters }];
    }),
  );
}

// ---- drawing

/** @param {Tag[]} tags */
function drawMenu(tags) {
  const parts = tags.flatMap((tag) => [
    element("h2", {}, tag.name),
    ...tag.routes.map((route) =>
      element("a", { href: `#${route.operationId}`, "data-route": route.operationId, title: route.path }, [
        element("span", { class: `verb ${route.method}` }, route.method.toUpperCase()),
        element("span", {}, shortName(route)),
      ]),
    ),
  ]);
  replace(byId("menu"), parts);
}

/** @param {Route} route */
function shortName(route) {
  return route.operationId.replace(/^[^_]*_/, "").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

/** @param {Tag[]} tags */
function drawContent(tags) {
  const sections = tags.map((tag) =>
    element("section", { id: tag.name }, [
      element("h2", {}, tag.name),
      element("div", { class: "prose" }, prose(tag.description)),
      ...tag.routes.map(drawRoute),
    ]),
  );
  replace(byId("content"), [element("div", { class: "prose" }, prose(api.info.description)), ...sections]);
}

/** @param {Route} route */
function drawRoute(route) {
  const details = element("details", { class: "route", id: route.operationId }, [
    element("summary", {}, [
      element("span", { class: `verb ${route.method}` }, route.method.toUpperCase()),
      element("span", { class: "path" }, pathParts(route.path)),
      element("span", { class: "summary" }, inline(route.summary ?? "")),
    ]),
  ]);
  // Drawn when opened: a contract may have hundreds of routes.
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    if (details.children.length === 1) details.append(element("div", {}, drawRouteBody(route)));
    markCurrent(route.operationId);
  });
  return details;
}

/** @param {string} path */
function pathParts(path) {
  return path.split(/(\{[^}]+\})/).map((part) => (part.startsWith("{") ? element("em", {}, part) : part));
}

/**
 * @param {Route} route
 * @returns {Child[]}
 */
function drawRouteBody(route) {
  const own = route.parameters.filter((parameter) => parameter.in !== "header");
  const body = bodySchema(route);
  return [
    element("div", { class: "prose" }, prose(route.description ?? route.summary ?? "")),
    element("p", { class: "needs" }, needs(route)),
    ...(own.length ? [element("h3", {}, "Parameters"), drawParameters(own)] : []),
    ...(body ? [element("h3", {}, "Body"), drawFields(body)] : []),
    element("h3", {}, "Answers"),
    element("div", { class: "answers" }, Object.entries(route.responses).map(drawAnswer)),
    drawTry(route, body),
  ];
}

/**
 * What a caller must have, in words.
 * @param {Route} route
 * @returns {Child | Child[]}
 */
function needs(route) {
  const wanted = route.security ?? api.security ?? [];
  if (!wanted.length) return "Needs no token.";
  const scopes = [...new Set(wanted.flatMap((one) => Object.values(one).flat()))];
  if (!scopes.length) return "Needs a token.";
  return ["Needs a token with the scope ", ...scopes.map((scope) => element("code", {}, scope)), "."];
}

/** @param {Route} route */
function bodyType(route) {
  return Object.keys(route.requestBody?.content ?? {})[0];
}

/** @param {Route} route */
function bodySchema(route) {
  return route.requestBody && resolveSchema(route.requestBody.content[bodyType(route)].schema);
}

/**
 * The example of the contract, or one made of the schema.
 * @param {Route} route
 * @param {Schema} body
 */
function bodyExample(route, body) {
  const value = route.requestBody?.content[bodyType(route)].example ?? example(body);
  return bodyType(route) === STREAMS[0] ? JSON.stringify(value) : JSON.stringify(value, null, 2);
}

/** @param {Parameter[]} parameters */
function drawParameters(parameters) {
  const rows = parameters.map((parameter) =>
    drawField(parameter.name, { ...parameter.schema, description: parameter.description }, parameter.required, parameter.in),
  );
  return element("dl", { class: "fields" }, rows);
}

/** @param {Schema} schema */
function drawFields(schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) =>
    drawField(name, field, schema.required?.includes(name) && schema.additionalProperties === false),
  );
  if (!rows.length) return element("p", {}, "Nothing.");
  return element("dl", { class: "fields" }, rows);
}

/**
 * @param {string} name
 * @param {Schema} field
 * @param {boolean} [required]
 * @param {string} [place]
 */
function drawField(name, field, required, place) {
  const schema = firstForm(field);
  const inner = innerSchema(schema);
  const kind = [kindOf(schema), place && `in ${place}`].filter(Boolean).join(", ");
  const term = element("dt", {}, [
    name,
    required ? element("span", { class: "must", title: "required" }, " *") : "",
    element("span", { class: "kind" }, kind),
  ]);
  const description = element("dd", {}, prose(schema.description ?? ""));
  if (inner) description.append(drawInner(inner));
  return element("div", { class: "field" }, [term, description]);
}

/** @param {Schema} schema */
function drawInner(schema) {
  const isEnum = Boolean(schema.enum);
  const details = element("details", { class: "inner" }, element("summary", {}, isEnum ? "values" : "fields"));
  // Drawn when opened: types may hold themselves.
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    details.append(...prose(schema.description ?? ""));
    if (!isEnum) details.append(drawFields(schema));
  });
  return details;
}

/** @param {Schema} schema */
function innerSchema(schema) {
  const { additionalProperties } = schema;
  const values = typeof additionalProperties === "object" ? additionalProperties : schema;
  const inner = resolveSchema(schema.items ?? values);
  return inner.properties || inner.enum ? inner : null;
}

/**
 * @param {Schema} alternatives
 * @returns {string}
 */
function kindOf(alternatives) {
  const schema = firstForm(alternatives);
  if (schema.$ref) return schema.$ref.replace(/Input$/, "").replace(/^.*\//, "");
  if (schema.type === "array") return `list of ${kindOf(schema.items ?? {})}`;
  if (schema.type === "object" && typeof schema.additionalProperties === "object") return `map to ${kindOf(schema.additionalProperties)}`;
  if (schema.contentEncoding) return "base64";
  return schema.format ?? schema.type ?? "any JSON";
}

/** @param {[string, Answer]} answer */
function drawAnswer([status, response]) {
  const answer = resolve(response);
  const isGood = status.startsWith("2");
  const details = element("details", { class: `answer ${isGood ? "good" : "bad"}` }, [
    element("summary", {}, [
      element("b", {}, status),
      element("span", {}, answer.description.replace(/^- /gm, "").replace(/`/g, "").replace(/\s+/g, " ")),
    ]),
  ]);
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    details.append(element("div", {}, [...prose(answer.description), ...drawContentTypes(answer.content)]));
  });
  return details;
}

/** @param {Content} [content] */
function drawContentTypes(content) {
  const types = Object.entries(content ?? {}).filter(([type]) => type !== "text/event-stream");
  return types.flatMap(([type, { schema }]) => [
    element("p", {}, element("code", {}, type)),
    drawFields(resolveSchema(schema)),
  ]);
}

/**
 * Paragraphs, lists and `code`, which is all that the contract's comments use.
 * @param {string} text
 */
function prose(text) {
  return text.split(/\n\s*\n/).filter(Boolean).map((block) => {
    const items = block.split(/\n(?=- )/);
    if (block.startsWith("- ")) return element("ul", {}, items.map((item) => element("li", {}, inline(item.slice(2)))));
    return element("p", {}, inline(block));
  });
}

/**
 * @param {string} text
 * @returns {Child[]}
 */
function inline(text) {
  return text.split(/(`[^`]+`)/).map((part) =>
    part.startsWith("`") && part.length > 1 ? element("code", {}, part.slice(1, -1)) : part,
  );
}

// ---- trying a call

/**
 * @param {Route} route
 * @param {Schema} [body]
 */
function drawTry(route, body) {
  /** @type {[Parameter, Input][]} */
  const inputs = route.parameters.map((parameter) => [parameter, drawInput(parameter)]);
  const accept = isStream(route) ? drawChoice("Accept", STREAMS) : null;
  const text = body ? element("textarea", { rows: 10, spellcheck: "false", "aria-label": "Body" }) : null;
  if (text && body) text.value = bodyExample(route, body);
  const send = element("button", { type: "submit" }, "Send");
  const stop = element("button", { type: "button", class: "quiet", hidden: "" }, "Stop");
  const copy = element("button", { type: "button", class: "quiet" }, "Copy as curl");
  const result = element("div", { class: "result", "aria-live": "polite" });
  const form = element("form", { class: "try" }, [
    element("h3", {}, "Try it"),
    element("div", { class: "inputs" }, [...inputs.map(([, input]) => input.label), ...(accept ? [accept.label] : [])]),
    ...(text ? [text] : []),
    element("div", { class: "actions" }, [send, stop, copy, element("span", { class: "hint" }, "Ctrl + Enter sends")]),
    result,
  ]);
  const request = () => requestOf(route, inputs, text, accept);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    call(request(), { send, stop, result });
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  copy.addEventListener("click", async () => {
    const line = curl(request());
    try {
      await navigator.clipboard.writeText(line);
      copy.textContent = "Copied";
      setTimeout(() => {
        copy.textContent = "Copy as curl";
      }, 1500);
    } catch {
      replace(result, element("pre", {}, line));
    }
  });
  return form;
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
  const hint = parameter.example ?? (schema.type === "array" ? "a, b, c" : (schema.format ?? ""));
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
 * @param {Route} route
 * @param {[Parameter, Input][]} inputs
 * @param {HTMLTextAreaElement | null} text
 * @param {Input | null} accept
 * @returns {CallRequest}
 */
function requestOf(route, inputs, text, accept) {
  let path = route.path;
  const query = new URLSearchParams();
  /** @type {Record<string, string>} */
  const headers = {};
  for (const [parameter, { input }] of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (!value) continue;
    else if (parameter.in === "header") headers[parameter.name] = value;
    else for (const one of parameter.schema.type === "array" ? value.split(",") : [value]) query.append(parameter.name, one.trim());
  }
  if (text) headers["Content-Type"] = bodyType(route);
  if (accept) headers.Accept = accept.input.value;
  const search = query.toString();
  const isPublic = !(route.security ?? api.security ?? []).length;
  return { method: route.method.toUpperCase(), url: path + (search ? `?${search}` : ""), headers, body: text?.value, isPublic };
}

/**
 * @param {CallRequest} request
 * @param {CallView} view
 */
async function call(request, { send, stop, result }) {
  const stopper = new AbortController();
  const started = performance.now();
  stop.onclick = () => stopper.abort();
  send.disabled = true;
  stop.hidden = false;
  const view = element("pre", {});
  try {
    const token = request.isPublic ? "" : await bearer();
    const headers = token ? { ...request.headers, Authorization: `Bearer ${token}` } : request.headers;
    const { method, url, body } = request;
    const answer = await fetch(url, { method, headers, body, signal: stopper.signal });
    replace(result, [statusLine(answer, performance.now() - started), view]);
    await show(answer, view);
  } catch (error) {
    const words = stopper.signal.aborted ? "Stopped." : `No answer: ${messageOf(error)}`;
    if (view.isConnected) view.append(`\n${words}`);
    else replace(result, element("p", {}, words));
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

/**
 * @param {Response} answer
 * @param {HTMLElement} view
 * @returns {Promise<void>}
 */
async function show(answer, view) {
  const type = answer.headers.get("Content-Type") ?? "";
  if (type.startsWith("application/octet-stream")) return showDownload(await answer.blob(), view);
  if (!STREAMS.some((stream) => type.startsWith(stream))) return showWhole(await answer.text(), view);
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let count = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (++count <= SHOWN_LINES_MAX) view.append(...coloured(line), "\n");
    }
  }
  if (count > SHOWN_LINES_MAX) view.append(`… ${count - SHOWN_LINES_MAX} more lines`);
  if (!count) view.append("(nothing)");
}

/**
 * @param {Blob} blob
 * @param {HTMLElement} view
 */
function showDownload(blob, view) {
  const link = element("a", { href: URL.createObjectURL(blob), download: "download.bin" }, `Save ${blob.size} bytes`);
  replace(view, [link]);
}

/**
 * @param {string} text
 * @param {HTMLElement} view
 */
function showWhole(text, view) {
  if (text.includes('"access_token"')) adopt(JSON.parse(text));
  // Printed from the text, since parsing would round its large numbers.
  replace(view, coloured(indented(text)));
}

/** @param {string} text */
function indented(text) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return text.replace(/"(?:[^"\\]|\\.)*"|[[{]\s*[\]}]|[{}[\],:]|\s+/g, (token) => {
    if (token === "{" || token === "[") {
      depth++;
      return token + line();
    }
    if (token === "}" || token === "]") {
      depth--;
      return line() + token;
    }
    if (token === ",") return token + line();
    if (token === ":") return ": ";
    return /^\s+$/.test(token) ? "" : token;
  });
}

/**
 * @param {string} text
 * @returns {Child[]}
 */
function coloured(text) {
  /** @type {Child[]} */
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g)) {
    parts.push(text.slice(end, match.index));
    const kind = match[2] ? "key" : match[1] ? "string" : "other";
    parts.push(element("span", { class: kind }, match[1] ?? match[0]), match[2] ?? "");
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

/** @param {CallRequest} request */
function curl({ method, url, headers, body, isPublic }) {
  const quote = (/** @type {string} */ text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = ["curl", "-X", method, quote(location.origin + url)];
  for (const [name, value] of Object.entries(headers)) parts.push("-H", quote(`${name}: ${value}`));
  // Not the token itself: what is copied ends up in places where no secret should be.
  if (!isPublic) parts.push("-H", '"Authorization: Bearer $(girih token)"');
  if (body !== undefined) parts.push("-d", quote(body));
  return parts.join(" ");
}

/**
 * A body to begin with: one of each list, and of a choice the first.
 * @param {Schema} schema
 * @param {string[]} [seen]
 * @returns {unknown}
 */
function example(schema, seen = []) {
  const type = resolveSchema(schema);
  const name = firstForm(schema).$ref;
  if (name && seen.includes(name)) return undefined;
  if (type.enum) return type.enum[Math.min(1, type.enum.length - 1)];
  if (type.type === "array") return [example(type.items ?? {}, seen)].filter((item) => item !== undefined);
  if (type.properties) {
    const others = (type.allOf ?? []).flatMap((choice) => choice.oneOf.flatMap(({ required }) => (required ? [required] : [])).slice(1).flat());
    const inner = name ? [...seen, name] : seen;
    const pairs = Object.entries(type.properties).filter(([key]) => !others.includes(key));
    return Object.fromEntries(pairs.map(([key, value]) => [key, example(value, inner)]));
  }
  if (type.type === "object") return {};
  if (type.type === "boolean") return false;
  if (type.type === "integer" || type.type === "number") return 0;
  if (type.type === "string") return /int64/.test(type.format ?? "") ? "0" : "";
  return {};
}

// ---- the rest

async function showHealth() {
  const badge = byId("service-health");
  try {
    /** @type {Health} */
    const { status, parts } = await (await fetch("/health")).json();
    badge.className = `health ${status === "SERVING" ? "good" : "bad"}`;
    const bad = Object.entries(parts).filter(([, part]) => part.status !== "SERVING").map(([name]) => name);
    badge.textContent = bad.length ? `${bad.join(", ")} away` : status.toLowerCase();
  } catch {
    badge.className = "health bad";
    badge.textContent = "gateway away";
  }
}

function setUpSearch() {
  const search = byId("search", HTMLInputElement);
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const route of all(".route")) {
      const text = `${route.id} ${first(route, "summary").textContent}`.toLowerCase();
      const hidden = !words.every((word) => text.includes(word));
      route.hidden = hidden;
      first(document, `nav [data-route="${route.id}"]`).hidden = hidden;
    }
    for (const section of all("main > section")) {
      section.hidden = !section.querySelector(".route:not([hidden])");
    }
  });
}

function setUpKeys() {
  const search = byId("search", HTMLInputElement);
  addEventListener("keydown", (event) => {
    const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !isTyping) {
      event.preventDefault();
      search.focus();
    }
    if (event.key === "Escape" && document.activeElement === search) {
      search.value = "";
      search.dispatchEvent(new Event("input"));
      search.blur();
    }
    if ((event.key === "j" || event.key === "k") && !isTyping && !event.ctrlKey && !event.metaKey) step(event.key === "j" ? 1 : -1);
  });
}

/** @param {1 | -1} by */
function step(by) {
  const summaries = all(".route:not([hidden]) > summary");
  const current = summaries.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  summaries[Math.max(0, Math.min(summaries.length - 1, current + by))]?.focus();
}

function setUpTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (/** @type {string} */ theme) => {
    document.documentElement.dataset.theme = theme;
  };
  let chosen = stored();
  set(chosen ?? (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => {
    if (!chosen) set(dark.matches ? "dark" : "light");
  });
  byId("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    set(chosen);
    try {
      localStorage.setItem("theme", chosen);
    } catch {
      // Kept for this visit only.
    }
  });
}

function stored() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function openFromAddress() {
  const route = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!route) return;
  if (route instanceof HTMLDetailsElement) {
    route.open = true;
    first(route, "summary").focus({ preventScroll: true });
  }
  route.scrollIntoView();
}

/** @param {string} id */
function markCurrent(id) {
  for (const link of all("nav a")) {
    if (link.dataset.route === id) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

/**
 * What a reference leads to, and everything else as it is.
 * @template {Reference} T
 * @param {T} value
 * @returns {T}
 */
function resolve(value) {
  let target = value;
  while (target.$ref) target = target.$ref.slice(2).split("/").reduce((/** @type {any} */ node, key) => node[key], api);
  return target;
}

/** @param {Schema} schema */
function resolveSchema(schema) {
  return resolve(firstForm(schema));
}

/**
 * Of several forms of a value, the one to send: the others are taken too.
 * @param {Schema} schema
 * @returns {Schema}
 */
function firstForm(schema) {
  const { anyOf, ...rest } = schema;
  return anyOf ? { ...anyOf[0], ...rest } : schema;
}

/**
 * @param {string} selector
 * @returns {HTMLElement[]}
 */
function all(selector) {
  return [...document.querySelectorAll(selector)].filter((node) => node instanceof HTMLElement);
}
