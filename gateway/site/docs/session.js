// The dialog that asks who calls from this page, and the button for it.

import { adoptSecret, keepSession, logInWith, logOut, session } from "../shared/session.js";
import { byId, first } from "./dom.js";

export { adopt, bearer } from "../shared/session.js";

/** @type {((isLoggedIn: boolean) => void) | null} */
let whenClosed = null;

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
    problem.textContent = await logInFrom(new FormData(form));
    if (problem.textContent) return;
    dialog.close("in");
  });
  dialog.addEventListener("close", () => {
    form.reset();
    whenClosed?.(dialog.returnValue === "in");
    whenClosed = null;
    dialog.returnValue = "";
  });
  keepSession(showSession);
}

/**
 * Answers what went wrong, or nothing.
 * @param {FormData} form
 * @returns {Promise<string>}
 */
async function logInFrom(form) {
  const text = (/** @type {string} */ name) => String(form.get(name) ?? "");
  const secret = text("secret").trim();
  if (secret) {
    adoptSecret(secret);
    return "";
  }
  if (!text("email")) return "Type an address and a password, or a token.";
  return logInWith({ email: text("email"), password: text("password") });
}

function showSession() {
  const button = byId("session");
  button.textContent = session.access ? "Log out" : "Log in";
  button.title = session.access ? `Logged in as ${session.name}` : "Calls from this page are made without a token";
  byId("session-name").textContent = session.name;
}
