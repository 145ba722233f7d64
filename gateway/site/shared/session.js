// Who calls from a page. Tokens are held in memory while a page is open. Between two pages of
// a tab, and over a reload, they lie in its sessionStorage: the page that leaves puts them there,
// the next one takes them out. So no two pages have one: a refresh token that is used twice ends
// its session.

/**
 * @typedef {{ access_token?: string, refresh_token?: string, expires_in?: number,
 *   user?: { name?: string } }} Tokens
 */

const NOBODY = { access: "", refresh: "", expires: 0, name: "" };
const KEPT = "girih-session";
const SPARE_MS = 15000;
const CALL_MS_MAX = 30_000;

/** Whose tokens there are; `access` is empty where nobody is logged in. */
export const session = { ...NOBODY };

/** @type {Promise<void> | null} */
let refreshing = null;

/** @type {() => void} */
let changed = () => {};

/**
 * The token for a call, renewed when its time is nearly over; empty when nobody is logged in.
 * Throws where it must be renewed and that may succeed later: the session is not over then.
 * @param {boolean} [isRefused] that it was refused although its time is not over
 */
export async function bearer(isRefused = false) {
  if (session.refresh && (isRefused || Date.now() > session.expires - SPARE_MS)) {
    // Two calls at once share one refresh: a refresh token works once.
    refreshing ??= renew().finally(() => {
      refreshing = null;
    });
    try {
      await refreshing;
    } catch (error) {
      if (isRefused || Date.now() >= session.expires) throw error;
    }
  }
  return session.access;
}

async function renew() {
  const token = session.refresh;
  const answer = await post("/auth/refresh", { refresh_token: token });
  const body = await answer.json();
  // Somebody has logged out meanwhile, and stays so.
  if (session.refresh !== token) return;
  if (answer.ok) adopt(body);
  else if (answer.status >= 500 || answer.status === 429) throw new Error(body.error.message);
  else forget();
}

/**
 * Takes the tokens of an answer that holds some, wherever on the page it was asked for.
 * @param {Tokens | null} answer
 */
export function adopt(answer) {
  if (!answer?.access_token) return;
  session.access = answer.access_token;
  session.refresh = answer.refresh_token ?? "";
  session.expires = Date.now() + 1000 * (answer.expires_in ?? 0);
  session.name = answer.user?.name || session.name || "a key";
  changed();
}

/** @param {string} secret a token or a key that somebody pasted */
export function adoptSecret(secret) {
  Object.assign(session, { access: secret, refresh: "", expires: Number.MAX_SAFE_INTEGER, name: "a token or key" });
  changed();
}

/**
 * Answers what went wrong, or nothing.
 * @param {{ email: string, password: string, tenantId?: string }} who
 * @returns {Promise<string>}
 */
export async function logInWith(who) {
  try {
    const answer = await post("/auth/login", who);
    const body = await answer.json();
    if (!answer.ok) return body.error.message;
    adopt(body);
    return "";
  } catch (error) {
    return `No answer: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/**
 * Goes on as the same user in another tenant; answers what went wrong, or nothing.
 * @param {string} tenantId
 * @returns {Promise<string>}
 */
export async function switchTenant(tenantId) {
  // A renewal that is under way would take the token that this one spends.
  await refreshing?.catch(() => {});
  const answer = await post(`/auth/tenants/${encodeURIComponent(tenantId)}:switch`, { refresh_token: session.refresh });
  const body = await answer.json();
  if (!answer.ok) return body.error.message;
  adopt(body);
  return "";
}

/** Logs out of this page, whether or not the gateway hears of it. */
export async function logOut() {
  const token = session.refresh;
  forget();
  // A session that nobody was told of ends by itself.
  if (token) await post("/auth/logout", { refresh_token: token }).catch(() => {});
}

/** Ends all sessions of the user; throws, and keeps this one, where they have not ended. */
export async function logOutEverywhere() {
  // A renewal that is under way would take the token that this one spends.
  await refreshing?.catch(() => {});
  const answer = await post("/auth/logout", { refresh_token: session.refresh, everywhere: true });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  forget();
}

export function forget() {
  Object.assign(session, NOBODY);
  changed();
}

/**
 * Has tokens outlive a page, in its tab.
 * @param {() => void} whenChanged told whenever somebody else calls, or with other tokens
 */
export function keepSession(whenChanged) {
  changed = whenChanged;
  addEventListener("pagehide", keep);
  // Also of a page that the browser had put aside, and that meanwhile another one followed.
  addEventListener("pageshow", takeKept);
}

function keep() {
  try {
    if (session.access) sessionStorage.setItem(KEPT, JSON.stringify(session));
  } catch {
    // Then whoever comes back logs in again.
  }
}

function takeKept() {
  try {
    const text = sessionStorage.getItem(KEPT);
    sessionStorage.removeItem(KEPT);
    Object.assign(session, NOBODY, JSON.parse(text ?? "{}"));
  } catch {
    Object.assign(session, NOBODY);
  }
  changed();
}

/**
 * @param {string} url
 * @param {object} body
 */
function post(url, body) {
  return fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal: AbortSignal.timeout(CALL_MS_MAX) });
}
