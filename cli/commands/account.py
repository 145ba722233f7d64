"""`girih register`, `login`, `logout`, `whoami`, `token` and `password`: who one is."""

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from cli.terminal import options, output, passwords

if TYPE_CHECKING:
    from cli.client.credentials import CredentialsFile
    from cli.client.rest import Gateway, Json

Email = Annotated[
    str | None, typer.Argument(metavar="EMAIL", help="The address; asked for when not given.")
]


def add_to(app: typer.Typer, panel: str) -> None:
    """Make these commands part of `girih`, under a heading of its help."""
    for command in (register, login, logout, whoami, token, password):
        app.command(rich_help_panel=panel)(command)


def register(
    email: Email = None,
    name: Annotated[
        str, typer.Option(help="What to call you. Unset means what stands before the @.")
    ] = "",
    tenant_name: Annotated[
        str, typer.Option(help="What to call the tenant. Unset means your name.")
    ] = "",
    password_stdin: passwords.FromStdin = False,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a user and a tenant of which the user is the owner, and log in."""
    email = _email(email)
    with _anonymous(url) as gateway:
        secret = passwords.password(from_stdin=password_stdin, is_new=True)
        body = {"email": email, "password": secret, "name": name or email.partition("@")[0]}
        answer = gateway.post("/auth/register", {**body, "tenantName": tenant_name})
        _open_session(gateway, {"email": email, "password": secret})
    _show_joined(answer, is_json=as_json)


def login(
    email: Email = None,
    tenant: Annotated[
        str, typer.Option(help="The id of the tenant to work in. Unset means the first joined.")
    ] = "",
    password_stdin: passwords.FromStdin = False,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Open a session. The commands here, and `girih import`, use it from then on."""
    email = _email(email)
    with _anonymous(url) as gateway:
        secret = passwords.password(from_stdin=password_stdin)
        body = {"email": email, "password": secret, "tenantId": tenant}
        answer = _open_session(gateway, body)
    _show_joined({name: answer.get(name) for name in ("user", "tenant", "role")}, is_json=as_json)


def logout(
    everywhere: Annotated[bool, typer.Option(help="End all sessions of the user.")] = False,
    url: options.Url = None,
) -> None:
    """End the session, and forget it."""
    from cli.failure import NotLoggedIn

    with _anonymous(url) as gateway, _file().locked() as sessions:
        held = sessions.get(gateway.url)
        if held is None:
            raise NotLoggedIn(gateway.url)
        body = {"refresh_token": held.refresh_token, "everywhere": everywhere}
        gateway.post("/auth/logout", body)
        del sessions[gateway.url]
    output.message(f"Logged out of {gateway.url}.")


def whoami(url: options.Url = None, as_json: options.AsJson = False) -> None:
    """Tell who calls are made as, in which tenant, and what they may do."""
    with options.gateway(url) as gateway:
        answer = gateway.get("/auth/whoami")
    if as_json:
        output.document(answer)
        return
    user, key, tenant = (answer.get(name) or {} for name in ("user", "key", "tenant"))
    output.record(
        [
            ("user", " ".join(filter(None, (user.get("name"), user.get("email"))))),
            ("user id", user.get("userId")),
            ("key", " ".join(filter(None, (key.get("name"), key.get("keyId"))))),
            ("tenant", tenant.get("name")),
            ("tenant id", tenant.get("tenantId")),
            ("plan", (tenant.get("plan") or {}).get("name")),
            ("role", output.word(answer.get("role", "")).replace("unspecified", "")),
            ("may", ", ".join(answer.get("scopes", []))),
            ("gateway", gateway.url),
        ]
    )


def token(url: options.Url = None) -> None:
    """Print an access token that is valid for a minute or more.

    For other programs: curl -H "Authorization: Bearer $(girih token)" ...
    """
    with options.gateway(url) as gateway:
        print(gateway.tokens.for_services())


def password(
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin", help="Read the present and the new one from two lines of stdin."
        ),
    ] = False,
    url: options.Url = None,
) -> None:
    """Change the password. All other sessions of the user end."""
    with options.gateway(url) as gateway:
        gateway.get("/auth/whoami")  # who asks must be logged in
        present = passwords.password("Present password", from_stdin=password_stdin)
        new = passwords.new_password(from_stdin=password_stdin)
        held = _file().read(gateway.url)
        body = {"password": present, "newPassword": new}
        own = {"refresh_token": held.refresh_token} if held else {}
        gateway.post("/auth/password", body | own)
    output.message("The password is changed; all other sessions have ended.")


def _open_session(gateway: "Gateway", body: "Json") -> "Json":
    """Log in, and keep what is answered. A session that was open there is ended."""
    from cli.client.session import credential
    from cli.failure import Failed

    answer = gateway.post("/auth/login", body)
    with _file().locked() as sessions:
        former = sessions.get(gateway.url)
        sessions[gateway.url] = credential(answer)
    if former is not None:
        with suppress(Failed):
            gateway.post("/auth/logout", {"refresh_token": former.refresh_token})
    return answer


def _show_joined(answer: "Json", *, is_json: bool) -> None:
    if is_json:
        output.document(answer)
        return
    user, tenant = answer["user"], answer["tenant"]
    output.record(
        [
            ("user", f"{user['name']} {user['email']}"),
            ("tenant", tenant["name"]),
            ("tenant id", tenant["tenantId"]),
            ("plan", (tenant.get("plan") or {}).get("name")),
            ("role", output.word(answer.get("role", ""))),
        ]
    )


def _email(email: str | None) -> str:
    if email:
        return email
    if not sys.stdin.isatty():
        raise typer.BadParameter("say which address", param_hint="EMAIL")
    return str(typer.prompt("Email", err=True))


def _anonymous(url: str | None) -> "Gateway":
    from cli.client.rest import LOOPBACK, Gateway

    gateway_url = options.url_of(url)
    parts = urlsplit(gateway_url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        output.message(
            f"note: {gateway_url} is not encrypted; others on the way can read the password"
        )
    return Gateway(gateway_url)


def _file() -> "CredentialsFile":
    from cli.client.credentials import CredentialsFile, default_path

    return CredentialsFile(default_path(os.environ))
