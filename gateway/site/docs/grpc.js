// The page for those who call by gRPC, from reference.json: packages, their rpcs and their types.

import { byId, element, replace } from "./dom.js";
import { inline, prose, reasonLink, table } from "./prose.js";
import { drawMenu, markCurrent } from "./shell.js";

/** @import { Contract, ContractError, ContractField, ContractPackage, ContractRpc, ContractType } from "./types.js" */
/** @import { Child } from "./dom.js" */

const HEAD = `Everything that the services serve over gRPC, in the words of their protos. \`girih up\` serves events at \`127.0.0.1:50051\`, lattices at \`127.0.0.1:50052\` and projections at \`127.0.0.1:50053\` (\`EVENTS_ADDRESS\`, \`LATTICE_ADDRESS\`, \`PROJECTIONS_ADDRESS\`). Python has a client, \`girih.client\`; stubs for other languages, and of what it has no methods for, are made from the protos in the repository.

Every call carries a token in the metadata key \`authorization\`, as \`Bearer ...\`. Accounts are served over REST alone.`;

/**
 * Where `girih up` serves a package at first. What all processes serve is asked of events.
 * @type {Record<string, string>}
 */
const ADDRESSES = { events: "127.0.0.1:50051", lattice: "127.0.0.1:50052", projections: "127.0.0.1:50053" };

/** @type {Map<string, ContractType>} */
const types = new Map();

export async function drawGrpc() {
  /** @type {Contract} */
  const { packages } = await (await fetch("/docs/reference.json")).json();
  for (const type of packages.flatMap((one) => one.types)) types.set(type.name, type);
  drawMenu(packages.flatMap(menuGroups));
  replace(byId("content"), [element("div", { class: "prose" }, [element("h1", {}, "gRPC"), ...prose(HEAD)]), ...packages.map(drawPackage)]);
}

/** @param {ContractPackage} one */
function menuGroups(one) {
  const rpcs = one.services.flatMap((service) =>
    service.rpcs.map((rpc) => ({ href: `#${service.name}.${rpc.name}`, text: rpc.name, label: "rpc", kind: "rpc", words: rpc.description })),
  );
  const named = one.types.map((type) => ({ href: `#${type.name}`, text: shortOf(type.name, one.name), label: type.values ? "enum" : "type", kind: "type", words: type.description }));
  return [
    { title: shortTitle(one.name), links: rpcs },
    { title: `${shortTitle(one.name)}: types`, links: named },
  ];
}

/**
 * `events` of `girih.events.v1`.
 * @param {string} name
 */
function shortTitle(name) {
  return name.split(".").at(-2) ?? name;
}

/**
 * @param {string} name
 * @param {string} of
 */
function shortOf(name, of) {
  return name.startsWith(`${of}.`) ? name.slice(of.length + 1) : name;
}

/** @param {ContractPackage} one */
function drawPackage(one) {
  return element("section", { id: one.name }, [
    element("h2", { class: "exact" }, one.name),
    element("div", { class: "prose" }, prose(one.description)),
    ...one.services.flatMap((service) => [
      element("h3", { class: "service" }, shortOf(service.name, one.name)),
      element("div", { class: "prose" }, prose(service.description)),
      ...service.rpcs.map((rpc) => drawRpc(service.name, rpc)),
    ]),
    ...(one.errors.length ? [element("h3", {}, "Every rpc may answer"), drawErrors(one.errors)] : []),
    element("h3", { class: "service" }, "Types"),
    ...one.types.map((type) => drawType(type, one.name)),
  ]);
}

/**
 * @param {string} id
 * @param {Child[]} head
 * @param {() => Child[]} body
 */
function drawFolded(id, head, body) {
  const details = element("details", { class: "route", id }, element("summary", {}, head));
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    if (details.children.length === 1) details.append(element("div", {}, body()));
    markCurrent(id);
  });
  return details;
}

/**
 * @param {string} service
 * @param {ContractRpc} rpc
 */
function drawRpc(service, rpc) {
  const summary = rpc.description.replace(/\s+/g, " ").split(/(?<=\.)\s|:\s/, 1)[0].replace(/[.:]$/, "");
  const head = [
    element("span", { class: "verb rpc" }, "rpc"),
    element("span", { class: "path" }, rpc.name),
    element("span", { class: "summary" }, inline(summary)),
  ];
  return drawFolded(`${service}.${rpc.name}`, head, () => [
    element("pre", { class: "signature" }, signature(rpc)),
    element("div", { class: "prose" }, prose(rpc.description)),
    element("p", { class: "needs" }, needs(rpc)),
    ...(rpc.routes.length ? [element("p", { class: "needs" }, ["Over REST: ", ...rpc.routes.flatMap((route, index) => [index ? ", " : "", element("code", {}, route)])])] : []),
    element("h3", {}, "With grpcurl"),
    element("pre", { class: "program", tabindex: 0 }, grpcurl(service, rpc)),
    element("h3", {}, ["Request ", typeLink(rpc.request)]),
    drawFieldsOf(rpc.request),
    element("h3", {}, ["Response ", typeLink(rpc.response)]),
    drawFieldsOf(rpc.response),
    ...(rpc.errors.length ? [element("h3", {}, "Errors"), drawErrors(rpc.errors)] : []),
  ]);
}

/**
 * @param {ContractRpc} rpc
 * @returns {Child[]}
 */
function signature(rpc) {
  const end = (/** @type {string} */ type, /** @type {boolean} */ isStream) => [isStream ? "stream " : "", typeLink(type)];
  return [`rpc ${rpc.name}(`, ...end(rpc.request, rpc.client_streaming), ")\n    returns (", ...end(rpc.response, rpc.server_streaming), ")"];
}

/**
 * @param {ContractRpc} rpc
 * @returns {Child[]}
 */
function needs({ scope }) {
  if (scope === "public") return ["Needs no token."];
  if (scope === "signed-in") return ["Needs a token."];
  return ["Needs a token with the scope ", element("code", {}, scope), "."];
}

/**
 * @param {string} service
 * @param {ContractRpc} rpc
 */
function grpcurl(service, rpc) {
  const data = rpc.example ? ` \\\n  -d '${JSON.stringify(rpc.example).replaceAll("'", "'\\''")}'` : "";
  const address = ADDRESSES[service.split(".")[1] ?? ""] ?? ADDRESSES.events;
  return `grpcurl -plaintext -H "authorization: Bearer $(girih token)"${data} \\\n  ${address} ${service}/${rpc.name}`;
}

/** @param {string} name */
function typeLink(name) {
  const short = name.replace(/^.*\./, "");
  return types.has(name) ? element("a", { href: `#${name}` }, short) : element("span", {}, name);
}

/** @param {string} name */
function drawFieldsOf(name) {
  const type = types.get(name);
  return type?.fields ? drawFields(type.fields) : element("p", { class: "needs" }, `${name}, which is everybody's.`);
}

/** @param {ContractField[]} fields */
function drawFields(fields) {
  if (!fields.length) return element("p", { class: "needs" }, "No fields.");
  return element("dl", { class: "fields" }, fields.map(drawField));
}

/** @param {ContractField} field */
function drawField(field) {
  const [before, after] = field.of ? field.type.split(field.of.replace(/^.*\./, "")) : [field.type, ""];
  const kind = field.of ? [before, typeLink(field.of), after ?? ""] : [field.type];
  const facts = [field.must && `${field.must.charAt(0).toUpperCase()}${field.must.slice(1)}.`, field.choice.length && `Not beside \`${field.choice.join("`, `")}\`.`];
  return element("div", { class: "field" }, [
    element("dt", {}, [field.name, element("span", { class: "kind" }, [...kind, ` = ${field.number}`])]),
    element("dd", {}, [...prose(field.description), ...facts.filter(Boolean).map((fact) => element("p", { class: "rule" }, inline(String(fact))))]),
  ]);
}

/**
 * @param {ContractType} type
 * @param {string} of
 */
function drawType(type, of) {
  const head = [
    element("span", { class: "verb" }, type.values ? "enum" : "type"),
    element("span", { class: "path" }, shortOf(type.name, of)),
    element("span", { class: "summary" }, inline(type.description.replace(/\s+/g, " ").split(/(?<=\.)\s/, 1)[0])),
  ];
  return drawFolded(type.name, head, () => [
    element("div", { class: "prose" }, prose(type.description)),
    type.values
      ? element("dl", { class: "fields" }, type.values.map(({ name, number, description }) =>
          element("div", { class: "field" }, [element("dt", {}, [name, element("span", { class: "kind" }, `= ${number}`)]), element("dd", {}, prose(description))])))
      : drawFields(type.fields ?? []),
  ]);
}

/** @param {ContractError[]} errors */
function drawErrors(errors) {
  const rows = errors.map(({ code, reasons, text }) => [
    [element("code", {}, code)],
    reasons.flatMap((reason) => [reasonLink(reason), " "]),
    inline(text.charAt(0).toUpperCase() + text.slice(1)),
  ]);
  const shown = table(["Code", "Reason", "What it means here"], rows);
  shown.classList.add("errors");
  return shown;
}
