// Who is logged in, where, as what, and what they may do.

import { session } from "../../shared/session.js";
import { createStore, useStore } from "../parts/store.js";
import { get } from "./api.js";

/** @import { Identity } from "./types.js" */

/** @type {import("../parts/store.js").Store<Identity | null>} */
export const identity = createStore(/** @type {Identity | null} */ (null));

/** Whether there is a session: a page is drawn again when that changes. */
export const isLoggedIn = createStore(false);

const MONTHLY_MS = 60_000_000;

/**
 * How long a page that stays open waits between two calls: longer where the plan bounds the calls of
 * a month, so that it does not use them up in less than a thousand minutes.
 * @param {number} everyMs as often as it would ask otherwise
 */
export function countedMs(everyMs) {
  const most = Number(identity.get()?.tenant.plan.monthlyCallCountMax ?? 0);
  return most ? Math.max(everyMs, MONTHLY_MS / most) : everyMs;
}

/** Asks who it is; throws CallFailed. */
export async function findIdentity() {
  if (session.access) identity.set(await get("/auth/whoami"));
}

/** Told whenever tokens change. */
export function noteSession() {
  if (!session.access) identity.set(null);
  isLoggedIn.set(Boolean(session.access));
}

/**
 * Answers whether the user may do what a scope allows: who may not is shown no way to it.
 * @returns {(scope: string) => boolean}
 */
export function useMay() {
  const who = useStore(identity);
  return (scope) => Boolean(who?.scopes.includes(scope));
}
