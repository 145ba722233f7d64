// Who comes in: with a password, with a token or a key, as somebody new, or by an invitation.

import { adoptSecret, logInWith } from "../shared/session.js";
import { post } from "./calls/api.js";
import { Form, Input } from "./parts/forms.js";
import { html } from "./parts/html.js";
import { to, useRoute } from "./parts/router.js";

const WAYS = /** @type {[string, string][]} */ ([["", "Log in"], ["register", "Register"], ["invited", "Invited"], ["token", "Token"]]);

export function Login() {
  const { path, query } = useRoute();
  const way = query.way ?? "";
  const Chosen = { register: Register, invited: Invited, token: Token }[way] ?? LogIn;
  return html`<div class="login">
    <h1>girih console</h1>
    <p class="lead">See and steer the events, lattices and consumers of a tenant.</p>
    <div class="tabs" role="group" aria-label="Ways in">${WAYS.map(([name, text]) => html`<a href=${to(path, { way: name })} aria-current=${name === way ? "true" : undefined}>${text}</a>`)}</div>
    <${Chosen} key=${way} query=${query} />
  </div>`;
}

/** @param {{ email: string, password: string, tenantId?: string }} who */
async function enter(who) {
  const problem = await logInWith(who);
  if (problem) throw new Error(problem);
}

function LogIn() {
  const act = (/** @type {Record<string, string>} */ { email, password, tenantId }) => enter({ email, password, ...(tenantId ? { tenantId } : {}) });
  return html`<${Form} label="Log in" act=${act}>
    <${Input} name="email" label="E-mail" type="email" autocomplete="username" required=${true} />
    <${Input} name="password" label="Password" type="password" autocomplete="current-password" required=${true} />
    <details><summary>Another tenant than the first</summary><${Input} name="tenantId" label="Tenant id" hint="Members find it on the page Usage." /></details>
  <//>`;
}

function Register() {
  const act = async (/** @type {Record<string, string>} */ { email, password, name, tenantName }) => {
    await post("/auth/register", { email, password, name, ...(tenantName ? { tenantName } : {}) });
    await enter({ email, password });
  };
  return html`<${Form} label="Register" act=${act}>
    <${Input} name="name" label="Your name" autocomplete="name" required=${true} maxlength=${100} />
    <${Input} name="email" label="E-mail" type="email" autocomplete="username" required=${true} />
    <${Input} name="password" label="Password" type="password" autocomplete="new-password" required=${true} hint="At least 15 characters in production. A sentence is good." />
    <${Input} name="tenantName" label="Name of the tenant" hint="What you and those you invite work in. Empty takes your name." maxlength=${100} />
  <//>`;
}

/** @param {{ query: Record<string, string> }} props */
function Invited({ query }) {
  const act = async (/** @type {Record<string, string>} */ { token, password, name }) => {
    const { user, tenant } = await post("/auth/invitations:accept", { token, password, ...(name ? { name } : {}) });
    await enter({ email: user.email, password, tenantId: tenant.tenantId });
  };
  return html`<${Form} label="Join" act=${act}>
    <${Input} name="token" label="Invitation" value=${query.token ?? ""} required=${true} hint="The token that you were sent." />
    <${Input} name="name" label="Your name" autocomplete="name" hint="Where you have no account yet." maxlength=${100} />
    <${Input} name="password" label="Password" type="password" autocomplete="current-password" required=${true} hint="A new one, or that of the account that has the invited address." />
  <//>`;
}

function Token() {
  const act = async (/** @type {Record<string, string>} */ { secret }) => adoptSecret(secret.trim());
  return html`<${Form} label="Go on" act=${act}>
    <${Input} name="secret" label="Access token or API key" type="password" required=${true} hint="Stays in this tab, and is gone when the tab is closed." />
  <//>`;
}
