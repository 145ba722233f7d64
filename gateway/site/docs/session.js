"use strict";
// Who calls from this page. Tokens are held in memory alone, and are gone with the page.

const session = { access: "", refresh: "", expires: 0, name: "" };
const SPARE_MS = 15000;
let refreshing = null;

// The token for a call, renewed when its time is nearly over; empty when nobody is logged in.
async function bearer() {
  if (session.refresh && Date.now() > session.expires - SPARE_MS) {
    // Two calls at once share one refresh: a refresh token works once.
    refreshing ??= renew().finally(() => (refreshing = null));
    await refreshing;
  }
  return session.access;
}

async function renew() {
  const answer = await post("/auth/refresh", { refresh_token: session.refresh });
  if (answer.ok) adopt(await answer.json());
  else if (answer.status === 401) forget();
}

// Takes the tokens of an answer that holds some, wherever on the page it was asked for.
function adopt(answer) {
  if (!answer?.access_token) return;
  session.access = answer.access_token;
  session.refresh = answer.refresh_token ?? "";
  session.expires = Date.now() + 1000 * (answer.expires_in ?? 0);
  session.name = answer.user?.name || session.name || "a key";
  showSession();
}

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

function post(url, body) {
  return fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

function setUpSession() {
  const dialog = document.getElementById("login");
  const problem = document.getElementById("login-problem");
  document.getElementById("session").addEventListener("click", () => {
    if (session.access) return logOut();
    problem.textContent = "";
    dialog.showModal();
  });
  for (const leaving of dialog.querySelectorAll("#login-cancel, a")) leaving.addEventListener("click", () => dialog.close());
  dialog.querySelector("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = await logInWith(new FormData(event.target));
    if (problem.textContent) return;
    event.target.reset();
    dialog.close();
  });
  showSession();
}

// Answers what went wrong, or nothing.
async function logInWith(form) {
  const secret = form.get("secret").trim();
  if (secret) return adoptSecret(secret), "";
  try {
    const answer = await post("/auth/login", { email: form.get("email"), password: form.get("password") });
    const told = await answer.json();
    if (!answer.ok) return told.error.message;
    adopt(told);
    return "";
  } catch (error) {
    return `No answer: ${error.message}`;
  }
}

function showSession() {
  const button = document.getElementById("session");
  button.textContent = session.access ? "Log out" : "Log in";
  button.title = session.access ? `Logged in as ${session.name}` : "Calls from this page are made without a token";
  document.getElementById("session-name").textContent = session.name;
}
