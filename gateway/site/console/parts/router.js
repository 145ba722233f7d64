// Where somebody is: the part of the address behind #, as `#/streams/permit-1?from=5`.

import { createStore, useStore } from "./store.js";

/** @typedef {{ path: string[], query: Record<string, string> }} Route */

/** @type {import("./store.js").Store<Route>} */
export const route = createStore(parsed(location.hash));

addEventListener("hashchange", () => route.set(parsed(location.hash)));

export const useRoute = () => useStore(route);

/**
 * The address of a page: parts of a path are percent-encoded, and empty values left out.
 * @param {(string | number)[]} path
 * @param {Record<string, string | number | undefined>} [query]
 */
export function to(path, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== "" && value !== undefined);
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return `#/${path.map((part) => encodeURIComponent(part)).join("/")}${text ? `?${text}` : ""}`;
}

/**
 * Goes there.
 * @param {string} address as `to` answers it
 * @param {{ replace?: boolean }} [how] whether to take the place of where somebody was
 */
export function go(address, { replace = false } = {}) {
  if (!replace) {
    location.hash = address;
    return;
  }
  history.replaceState(null, "", address);
  route.set(parsed(address));
}

/** @param {string} hash */
function parsed(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decoded), query: Object.fromEntries(new URLSearchParams(query)) };
}

/** @param {string} part */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
