// Schemas of the OpenAPI document: what references lead to, names of types, and examples.

/** @import { Document, Reference, Schema } from "./types.js" */

const UUID = "01980c2e-7d4f-7a31-9c55-2f6b8e1d0a47";
const DEPTH_MAX = 6;

/** @type {Document} */
export let api;

export async function readDocument() {
  api = await (await fetch("/openapi.json")).json();
  return api;
}

/**
 * What a reference leads to, and everything else as it is.
 * @template {Reference} T
 * @param {T} value
 * @returns {T}
 */
export function resolve(value) {
  let target = value;
  while (target.$ref) target = target.$ref.slice(2).split("/").reduce((/** @type {any} */ node, key) => node[unescaped(key)], api);
  return target;
}

/** @param {string} key */
function unescaped(key) {
  return decodeURIComponent(key).replaceAll("~1", "/").replaceAll("~0", "~");
}

/** @param {Schema} schema */
export function resolveSchema(schema) {
  return resolve(firstForm(schema));
}

/**
 * Of several forms of a value, the one to send: the others are taken too. What is behind a
 * reference alone is that.
 * @param {Schema} schema
 * @returns {Schema}
 */
export function firstForm(schema) {
  const { anyOf, ...rest } = schema;
  const form = anyOf ? { ...anyOf[0], ...rest } : schema;
  const only = form.allOf?.length === 1 && form.allOf[0].$ref ? form.allOf[0] : null;
  return only ? { ...only, description: form.description } : form;
}

/** @param {Schema} schema */
export function isText(schema) {
  return [schema.type].flat().includes("string");
}

/** @param {Schema} schema */
function typeOf(schema) {
  return [schema.type].flat().find((type) => type !== "null");
}

/** @param {Schema} schema */
export function isArray(schema) {
  return typeOf(schema) === "array";
}

/**
 * The type of a value in words.
 * @param {Schema} alternatives
 * @returns {string}
 */
export function kindOf(alternatives) {
  const schema = firstForm(alternatives);
  if (schema.$ref) return schema.$ref.replace(/\.?Input$/, "").replace(/^.*[./]/, "");
  if (isArray(schema)) return `list of ${kindOf(schema.items ?? {})}`;
  if (typeOf(schema) === "object" && typeof schema.additionalProperties === "object") return `map to ${kindOf(schema.additionalProperties)}`;
  if (schema.contentEncoding) return "base64";
  return schema.format ?? typeOf(schema) ?? "any JSON";
}

/**
 * The message or enum that is inside of a value, if one is.
 * @param {Schema} schema
 */
export function innerSchema(schema) {
  const { additionalProperties } = schema;
  const values = typeof additionalProperties === "object" ? additionalProperties : schema;
  const inner = resolveSchema(schema.items ?? values);
  return inner.properties || inner.enum ? inner : null;
}

/**
 * A value of a schema: one of each list, and of a choice the first. Texts that nobody knows are
 * left out where they may be, and else say what they stand for: never is one empty.
 * @param {Schema} schema
 * @param {string} [name]
 * @param {string[]} [within]
 * @returns {unknown}
 */
export function example(schema, name = "value", within = []) {
  const type = resolveSchema(schema);
  const given = schema.example ?? schema.examples?.[0] ?? type.example ?? type.examples?.[0] ?? type.const;
  if (given !== undefined) return given;
  const reference = firstForm(schema).$ref;
  if ((reference && within.includes(reference)) || within.length > DEPTH_MAX) return undefined;
  if (type.enum) return type.enum[Math.min(1, type.enum.length - 1)];
  const inner = reference ? [...within, reference] : within;
  if (isArray(type)) return [example(type.items ?? {}, name, inner)].filter((item) => item !== undefined);
  if (type.properties) return exampleObject(type, inner);
  return exampleScalar(type, name);
}

/**
 * @param {Schema} type
 * @param {string[]} within
 */
function exampleObject(type, within) {
  const others = (type.allOf ?? []).flatMap((choice) =>
    (choice.oneOf ?? []).flatMap(({ required }) => (required ? [required] : [])).slice(1).flat(),
  );
  const pairs = Object.entries(type.properties ?? {})
    .filter(([key]) => !others.includes(key))
    .map(([key, value]) => /** @type {[string, unknown]} */ ([key, example(value, key, within)]))
    .filter(([key, value]) => value !== undefined && (type.required?.includes(key) || value !== placeholder(key)));
  return Object.fromEntries(pairs);
}

/**
 * @param {Schema} type
 * @param {string} name
 */
function exampleScalar(type, name) {
  switch (typeOf(type)) {
    case "object":
      return {};
    case "boolean":
      return false;
    case "integer":
    case "number":
      return type.minimum && type.minimum > 0 ? type.minimum : 0;
    case "string":
      return exampleText(type, name);
    default:
      return {};
  }
}

/**
 * @param {Schema} type
 * @param {string} name
 */
function exampleText(type, name) {
  if (/int64/.test(type.format ?? "")) return "0";
  if (type.format === "date-time") return "2026-11-29T05:24:59.113042Z";
  if (type.format === "duration") return "0.5s";
  if (type.contentEncoding) return "AQI=";
  if (type.format === "uuid" || /\{8\}-\[/.test(type.pattern ?? "")) return UUID;
  return placeholder(name);
}

/**
 * What stands where a value is to be put: `LATTICE_ID` for `latticeId`.
 * @param {string} name
 */
export function placeholder(name) {
  return name.replace(/([a-z])([A-Z])/g, "$1_$2").replace(/\W+/g, "_").toUpperCase();
}
