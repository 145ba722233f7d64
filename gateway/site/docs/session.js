// Who calls from this page. Tokens are held in memory alone, and are gone with the page.

import { byId, first, messageOf } from "./dom.js";

/** @import { Tokens } from "./openapi.js" */

const session = { access: "", refresh: "", expires: 0, name: "" };
const SPARE_MS = 15000;

/** @type {Promise<void> | null} */
let refreshing = null;

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
  Object.assign(session, { access: secret, refresh: "", expires: Infinity, name: "a token or key" });
  showSession();
}

async function logOut() {
  const token = session.refresh;
  forget();
  if (token) await post("/auth/logout", { refresh_token: token });
}

function forget() {
  Object.assign(session, { access: "", refresh: "", expires: 0, name: "" });
  showSession();
}

/**
 * @param {string} url
 * @param {Record<string, string>} body
 */
function post(url, body) {
  return fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

export function setUpSession() {
  const dialog = byId("login", HTMLDialogElement);
  const problem = byId("login-problem");
  const form = /** @type {HTMLFormElement} */ (first(dialog, "form"));
  byId("session").addEventListener("click", () => {
    if (session.access) {
      logOut();
      return;
    }
    problem.textContent = "";
    dialog.showModal();
  });
  for (const leaving of dialog.querySelectorAll("#login-cancel, a")) leaving.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = await logInWith(new FormData(form));
    if (problem.textContent) return;
    form.reset();
    dialog.close();
  });
  showSession();
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
