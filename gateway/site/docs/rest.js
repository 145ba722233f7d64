// The page of the REST routes, from openapi.json.

import { byId, element, replace } from "./dom.js";
import { inline, prose, reasonLink, table } from "./prose.js";
import { api, example, firstForm, innerSchema, kindOf, readDocument, resolve, resolveSchema } from "./schema.js";
import { drawMenu, markCurrent } from "./shell.js";
import { withShortLists } from "./calls/answers.js";
import { drawTry } from "./calls/trying.js";

/** @import { Answer, Media, Parameter, Route, Schema } from "./types.js" */
/** @import { Child } from "./dom.js" */

const METHODS = ["get", "put", "post", "patch", "delete"];

export async function drawRest() {
  const { info, tags: named } = await readDocument();
  byId("version").textContent = info.version;
  const tags = named.map((tag) => ({ ...tag, routes: routesOf(tag.name) }));
  drawMenu(tags.map((tag) => ({ title: tag.name, links: tag.routes.map(menuLink) })));
  const sections = tags.map((tag) =>
    element("section", { id: tag.name }, [
      element("h2", {}, tag.name),
      element("div", { class: "prose" }, prose(tag.description)),
      ...tag.routes.map(drawRoute),
    ]),
  );
  const head = element("div", { class: "prose" }, [element("h1", {}, "REST"), ...prose(info.description)]);
  replace(byId("content"), [head, ...sections]);
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

/** @param {Route} route */
function menuLink(route) {
  return {
    href: `#${route.operationId}`,
    text: shortName(route),
    label: route.method.toUpperCase(),
    kind: route.method,
    name: `${route.path} ${route.operationId}`,
    words: route.summary ?? "",
  };
}

/** @param {Route} route */
function shortName({ operationId }) {
  return operationId.replace(/^[^_]*_/, "").replace(/([a-z])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase();
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
  const body = Object.values(route.requestBody?.content ?? {})[0];
  const answers = Object.entries(route.responses).map(([status, answer]) => ({ status, answer: resolve(answer) }));
  const good = answers.filter(({ status }) => status.startsWith("2"));
  const bad = answers.filter(({ status }) => !status.startsWith("2"));
  return [
    element("div", { class: "prose" }, prose(rest(route))),
    element("p", { class: "needs" }, needs(route)),
    drawTry(route),
    ...(own.length ? [element("h3", {}, "Parameters"), drawParameters(own)] : []),
    ...(body ? [element("h3", {}, "Body"), drawFields(resolveSchema(body.schema))] : []),
    ...good.flatMap(({ status, answer }) => drawGoodAnswer(status, answer)),
    ...(bad.length ? [element("h3", {}, "Errors"), drawErrors(bad)] : []),
  ];
}

/**
 * The description without the sentence that the heading has already, as long as that is all of it.
 * @param {Route} route
 */
function rest({ summary = "", description = "" }) {
  return description.replace(/\s+/g, " ").replace(/[.:]$/, "") === summary ? "" : description;
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
  if (!rows.length) return element("p", { class: "needs" }, "Nothing.");
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
  const description = element("dd", {}, prose(schema.description ?? resolve(schema).description ?? ""));
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
    if (isEnum) details.append(...prose(schema.description ?? ""));
    else details.append(drawFields(schema));
  });
  return details;
}

/**
 * @param {string} status
 * @param {Answer} answer
 * @returns {Child[]}
 */
function drawGoodAnswer(status, answer) {
  const types = Object.entries(answer.content ?? {}).filter(([type]) => type !== "text/event-stream");
  return [
    element("h3", {}, ["Answer ", element("b", { class: "good" }, status)]),
    element("div", { class: "prose" }, prose(answer.description)),
    ...types.flatMap(([type, media]) => drawMedia(type, media)),
  ];
}

/**
 * @param {string} type
 * @param {Media} media
 * @returns {Child[]}
 */
function drawMedia(type, media) {
  if (type.includes("octet-stream")) return [element("p", {}, element("code", {}, type))];
  const schema = resolveSchema(media.schema);
  const value = media.example ?? Object.values(media.examples ?? {})[0]?.value ?? example(media.schema);
  const fields = schema.properties ? [drawFields(schema)] : [];
  return [
    element("p", { class: "media" }, ["Example, ", element("code", {}, type)]),
    element("pre", { tabindex: 0 }, withShortLists(JSON.stringify(value, null, 2))),
    ...fields,
  ];
}

/**
 * What may go wrong: a row for each reason, or for a status that has only words.
 * @param {{ status: string, answer: Answer }[]} answers
 */
function drawErrors(answers) {
  const rows = answers.flatMap(({ status, answer }) => {
    const items = answer.description.split(/^- /m).slice(1);
    if (!items.length) return [[[status], [], inline(flat(answer.description))]];
    return items.map((item) => {
      const [, reasons, text] = /^([^:]*): (.*)$/s.exec(item) ?? ["", "", item];
      return [[status], [...reasons.matchAll(/[A-Z_]+/g)].flatMap(([reason]) => [reasonLink(reason), " "]), inline(flat(text))];
    });
  });
  const shown = table(["Status", "Reason", "What it means here"], rows);
  shown.classList.add("errors");
  return shown;
}

/** @param {string} text */
function flat(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.charAt(0).toUpperCase() + line.slice(1);
}

