// Prints what comes back: JSON, the lines of a stream as they come, or a file to save.

import { events, lines } from "../../shared/lines.js";
import { element, replace } from "../dom.js";

/** @import { Child } from "../dom.js" */
/** @import { Entry } from "../../shared/lines.js" */

const LINES_MAX = 500;
const GIST_MAX = 12;
const PRINTED_CHARS_MAX = 500_000;

/**
 * Answers the text of what is no stream.
 * @param {Response} answer
 * @param {HTMLElement} view
 * @returns {Promise<string>}
 */
export async function printAnswer(answer, view) {
  const type = answer.headers.get("Content-Type") ?? "";
  if (type.startsWith("application/octet-stream")) {
    printDownload(await answer.blob(), view);
    return "";
  }
  const entries = type.startsWith("text/event-stream") ? events : type.startsWith("application/x-ndjson") ? lines : null;
  if (entries && answer.body) {
    await printStream(entries(answer.body), view);
    return "";
  }
  const text = await answer.text();
  // Printed from the text, since parsing would round its large numbers.
  const printed = text.length > PRINTED_CHARS_MAX ? [`${text.slice(0, PRINTED_CHARS_MAX)} …`] : coloured(indented(text));
  replace(view, element("pre", { tabindex: 0 }, printed));
  return text;
}

/**
 * A row for each, the newest 500 of them, as they come.
 * @param {AsyncGenerator<Entry>} entries
 * @param {HTMLElement} view
 */
async function printStream(entries, view) {
  const list = element("div", { class: "stream", tabindex: 0 });
  const counted = element("p", { class: "hint" }, "Nothing yet.");
  replace(view, [counted, list]);
  let count = 0;
  for await (const entry of entries) {
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(drawEntry(entry, ++count));
    if (count > LINES_MAX) list.firstChild?.remove();
    counted.textContent = `${count.toLocaleString("en")} ${count === 1 ? "line" : "lines"}${count > LINES_MAX ? `, the last ${LINES_MAX} of them here` : ""}`;
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  }
  if (!count) counted.textContent = "Nothing: the stream has ended.";
}

/**
 * One line of what matters; all of it when opened.
 * @param {Entry} entry
 * @param {number} number
 */
function drawEntry({ name, text, isError }, number) {
  const details = element("details", { class: isError ? "entry bad" : "entry" }, [
    element("summary", {}, [element("span", { class: "number" }, name || String(number)), element("span", { class: "gist" }, gist(text))]),
  ]);
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(element("pre", {}, coloured(indented(text))));
  });
  return details;
}

/**
 * @param {string} text
 * @returns {Child[]}
 */
function gist(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return [text];
  }
  return [...leaves(value)].slice(0, GIST_MAX).flatMap(([key, leaf]) => [element("i", {}, key), ` ${leaf}  `]);
}

/**
 * The single values inside of a value, with their names. What is not set, and ids, say nothing to
 * people, and of a time the hour is enough.
 * @param {unknown} value
 * @param {string} [name]
 * @returns {Generator<[string, string]>}
 */
function* leaves(value, name = "") {
  if (Array.isArray(value) && value.every((item) => typeof item !== "object")) {
    if (value.length) yield [name, value.join(", ")];
  } else if (typeof value === "object" && value !== null) {
    for (const [key, inner] of Object.entries(value)) yield* leaves(inner, Array.isArray(value) ? name : key);
  } else if (value !== "" && value !== null && value !== false && !isId.test(String(value))) {
    yield [name, String(value).replace(time, "$1")];
  }
}

const isId = /[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/;
const time = /^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d).*/;

/**
 * @param {Blob} blob
 * @param {HTMLElement} view
 */
function printDownload(blob, view) {
  replace(view, element("a", { href: URL.createObjectURL(blob), download: "download.bin" }, `Save ${blob.size.toLocaleString("en")} bytes`));
}

const SHORT_CHARS_MAX = 72;

/**
 * JSON text with short lists of single values on a line of their own, not on one for each.
 * @param {string} text
 */
export function withShortLists(text) {
  return text.replace(/\[\n\s*((?:"(?:[^"\\]|\\.)*"|[-+.\deE]|true|false|null|,\s*)+)\n\s*\]/g, (whole, items) => {
    const line = items.replace(/,\n\s*/g, ", ");
    return line.length > SHORT_CHARS_MAX ? whole : `[${line}]`;
  });
}

/** @param {string} text */
function indented(text) {
  return withShortLists(spread(text));
}

/** @param {string} text */
function spread(text) {
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
