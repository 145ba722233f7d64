// Who calls from this page. Tokens are held in memory while a page is open. Between two pages of
// a tab, and over a reload, they lie in its sessionStorage: the page that leaves puts them there,
// the next one takes them out. So no two pages have one: a refresh token that is used twice ends
// its session.

import { byId, first, messageOf } from "./dom.js";

/** @import { Tokens } from "./types.js" */

const NOBODY = { access: "", refresh: "", expires: 0, name: "" };
const KEPT = "girih-session";
const SPARE_MS = 15000;

const session = { ...NOBODY };

/** @type {Promise<void> | null} */
let refreshing = null;

/** @type {((isLoggedIn: boolean) => void) | null} */
let whenClosed = null;

// The token for a call, renewed when its time is nearly over; empty when nobody is logged in.
export async function bearer() {
  if (session.refresh && Date.now() > session.expires - SPARE_MS) {
    // Two calls at once share one refresh: a refresh token works once.
    refreshing ??= renew().finally(() => {
      refreshing = null;
    });
    await refreshing;
  }
  return session.access;
}

async function renew() {
  const answer = await post("/auth/refresh", { refresh_token: session.refresh });
  if (answer.ok) adopt(await answer.json());
  else if (answer.status === 401) forget();
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
  showSession();
}

/** @param {string} secret */
function adoptSecret(secret) {
  Object.assign(session, { access: secret, refresh: "", expires: Number.MAX_SAFE_INTEGER, name: "a token or key" });
  showSession();
}

async function logOut() {
  const token = session.refresh;
  forget();
  if (token) await post("/auth/logout", { refresh_token: token });
}

function forget() {
  Object.assign(session, NOBODY);
  showSession();
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
  showSession();
}

/**
 * @param {string} url
 * @param {Record<string, string>} body
 */
function post(url, body) {
  return fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

/**
 * Asks who calls; whether somebody logged in.
 * @returns {Promise<boolean>}
 */
export function logIn() {
  byId("login-problem").textContent = "";
  byId("login", HTMLDialogElement).showModal();
  return new Promise((resolve) => {
    whenClosed = resolve;
  });
}

export function setUpSession() {
  const dialog = byId("login", HTMLDialogElement);
  const problem = byId("login-problem");
  const form = /** @type {HTMLFormElement} */ (first(dialog, "form"));
  byId("session").addEventListener("click", () => (session.access ? logOut() : logIn()));
  for (const leaving of dialog.querySelectorAll("#login-cancel, a")) leaving.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = await logInWith(new FormData(form));
    if (problem.textContent) return;
    dialog.close("in");
  });
  dialog.addEventListener("close", () => {
    form.reset();
    whenClosed?.(dialog.returnValue === "in");
    whenClosed = null;
    dialog.returnValue = "";
  });
  addEventListener("pagehide", keep);
  // Also of a page that the browser had put aside, and that meanwhile another one followed.
  addEventListener("pageshow", takeKept);
}

/**
 * Answers what went wrong, or nothing.
 * @param {FormData} form
 * @returns {Promise<string>}
 */
async function logInWith(form) {
  const text = (/** @type {string} */ name) => String(form.get(name) ?? "");
  const secret = text("secret").trim();
  if (secret) {
    adoptSecret(secret);
    return "";
  }
  if (!text("email")) return "Type an address and a password, or a token.";
  try {
    const answer = await post("/auth/login", { email: text("email"), password: text("password") });
    const body = await answer.json();
    if (!answer.ok) return body.error.message;
    adopt(body);
    return "";
  } catch (error) {
    return `No answer: ${messageOf(error)}`;
  }
}

function showSession() {
  const button = byId("session");
  button.textContent = session.access ? "Log out" : "Log in";
  button.title = session.access ? `Logged in as ${session.name}` : "Calls from this page are made without a token";
  byId("session-name").textContent = session.name;
}
