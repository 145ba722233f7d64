"""`girih register`, `login`, `logout`, `whoami`, `token` and `password`: who one is."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from cli.terminal import options, output, passwords
from cli.terminal.formats import Format
from cli.terminal.help import Commands

if TYPE_CHECKING:
    from cli.client.credentials import Credential, CredentialsFile
    from cli.client.rest import Gateway, Json
    from girih.servers import Server

Email = Annotated[
    str | None, typer.Argument(metavar="EMAIL", help="The address; asked for when not given.")
]
LoginUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="GIRIH_URL",
        metavar="URL",
        help="The gateway. Unset means that of the profile, GATEWAY_ADDRESS, the `girih up` of"
        " this folder, or the last login.",
    ),
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        envvar="GIRIH_PROFILE",
        metavar="PROFILE",
        help="What to call this login, for --profile of other commands. Unset means the folder's"
        " name, or the URL.",
    ),
]


def add_to(app: Commands, panel: str) -> None:
    """Make these commands part of `girih`, under a heading of its help."""
    for command, examples in (
        (register, "girih register ada@example.org --name Ada"),
        (
            login,
            "girih login ada@example.org\ngirih login ci@example.org --password-stdin < secret",
        ),
        (logout, "girih logout\ngirih logout --everywhere"),
        (whoami, "girih whoami\ngirih whoami -o json"),
        (token, 'curl -H "Authorization: Bearer $(girih token)" localhost:8000/v1/log'),
        (password, "girih password"),
    ):
        app.verb(panel=panel, examples=examples)(command)


def register(
    email: Email = None,
    name: Annotated[
        str, typer.Option(help="What to call you. Unset means what stands before the @.")
    ] = "",
    tenant_name: Annotated[
        str, typer.Option(help="What to call the tenant. Unset means your name.")
    ] = "",
    password_stdin: passwords.FromStdin = False,
    url: LoginUrl = None,
    profile: Profile = "",
    output_format: options.Output = Format.table,
) -> None:
    """Make a user and a tenant of which the user is the owner, and log in."""
    passwords.check_source(from_stdin=password_stdin)
    server = _server(url, profile)
    with _anonymous(server) as gateway:
        email = _email(email)
        body = {"email": email, "name": name or email.partition("@")[0], "tenantName": tenant_name}
        while True:
            secret = passwords.password(from_stdin=password_stdin, is_new=True)
            with _another_password(is_typed=passwords.are_typed(from_stdin=password_stdin)):
                answer = gateway.post("/auth/register", {**body, "password": secret})
                break
        _open_session(gateway, {"email": email, "password": secret}, server, profile)
    _show_joined(answer, output_format)
    if output_format.is_for_people:
        output.message(_NEXT.format(url=server.url))


@contextmanager
def _another_password(*, is_typed: bool) -> Iterator[None]:
    """Who typed a new password that is refused is told why, and may type another."""
    from cli.client.rest import Refused

    try:
        yield
    except Refused as refused:
        problem = refused.error.problems[0]
        if not is_typed or not problem.startswith("password:"):
            raise
        output.message(f"{problem}; once more.")


_NEXT = """
Next: girih lattices create --dimensions 3 --size 10
      girih events append greetings said '{{"to": "the world"}}'
      {url}/docs shows every call"""


def login(
    email: Email = None,
    tenant: Annotated[
        str, typer.Option(help="The id of the tenant to work in. Unset means the first joined.")
    ] = "",
    password_stdin: passwords.FromStdin = False,
    url: LoginUrl = None,
    profile: Profile = "",
    output_format: options.Output = Format.table,
) -> None:
    """Open a session. The commands here, and `girih import`, use it from then on."""
    passwords.check_source(from_stdin=password_stdin)
    server = _server(url, profile)
    with _anonymous(server) as gateway:
        email = _email(email)
        secret = passwords.password(from_stdin=password_stdin)
        body = {"email": email, "password": secret, "tenantId": tenant}
        answer = _open_session(gateway, body, server, profile)
    _show_joined({name: answer.get(name) for name in ("user", "tenant", "role")}, output_format)


def logout(
    everywhere: Annotated[bool, typer.Option(help="End all sessions of the user.")] = False,
    url: options.Url = None,
) -> None:
    """End the session, and forget it."""
    from cli.client.rest import Gateway
    from cli.failure import NotLoggedIn

    server = options.server(url)
    with Gateway(server.url) as gateway, _file().locked() as sessions:
        if (profile := server.profile_in(sessions)) is None:
            raise NotLoggedIn(gateway.url)
        body = {"refresh_token": sessions[profile].refresh_token, "everywhere": everywhere}
        gateway.post("/auth/logout", body)
        del sessions[profile]
    output.message(f"Logged out of {gateway.url}.")


def whoami(url: options.Url = None, output_format: options.Output = Format.table) -> None:
    """Tell who calls are made as, in which tenant, and what they may do."""
    server = options.server(url)
    with options.gateway_of(server) as gateway:
        answer = gateway.get("/auth/whoami")
    user, key, tenant = (answer.get(name) or {} for name in ("user", "key", "tenant"))
    output.thing(
        answer,
        output_format,
        name=user.get("userId") or key.get("keyId", ""),
        pairs=[
            ("user", " ".join(filter(None, (user.get("name"), user.get("email"))))),
            ("user id", user.get("userId")),
            ("key", " ".join(filter(None, (key.get("name"), key.get("keyId"))))),
            ("tenant", tenant.get("name")),
            ("tenant id", tenant.get("tenantId")),
            ("plan", (tenant.get("plan") or {}).get("name")),
            ("role", output.word(answer.get("role", "")).replace("unspecified", "")),
            ("may", ", ".join(answer.get("scopes", []))),
            ("gateway", gateway.url),
            ("profile", "" if key else server.profile_in(_file().read())),
        ],
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
    server = options.server(url)
    with options.gateway_of(server) as gateway:
        gateway.get("/auth/whoami")  # who asks must be logged in
        present = passwords.password("Present password", from_stdin=password_stdin)
        new = passwords.new_password(from_stdin=password_stdin)
        sessions = _file().read()
        body = {"password": present, "newPassword": new}
        profile = server.profile_in(sessions)
        own = {"refresh_token": sessions[profile].refresh_token} if profile else {}
        gateway.post("/auth/password", body | own)
    output.message("The password is changed; all other sessions have ended.")


def _open_session(gateway: "Gateway", body: "Json", server: "Server", profile: str) -> "Json":
    """Log in, and keep what is answered, as the last login. A session that the profile held at
    the same server is ended."""
    from cli.client.session import credential
    from cli.failure import Failed

    answer = gateway.post("/auth/login", body)
    opened = credential(server.url, answer, server)
    with _file().locked() as sessions:
        name = profile or server.profile_in(sessions) or _new_name(server, sessions)
        former = sessions.pop(name, None)
        sessions[name] = opened
    if former is not None and server.holds(former):
        with suppress(Failed):
            gateway.post("/auth/logout", {"refresh_token": former.refresh_token})
    return answer


def _new_name(server: "Server", sessions: "dict[str, Credential]") -> str:
    """What a profile is called by itself: like its folder, or by its URL."""
    if server.data_dir is None:
        return server.url
    name = server.data_dir.parent.name or "girih"
    names = (name, *(f"{name}-{number}" for number in range(2, len(sessions) + 3)))
    return next(name for name in names if name not in sessions)


def _show_joined(answer: "Json", output_format: Format) -> None:
    user, tenant = answer["user"], answer["tenant"]
    output.thing(
        answer,
        output_format,
        name=user["userId"],
        pairs=[
            ("user", f"{user['name']} {user['email']}"),
            ("tenant", tenant["name"]),
            ("tenant id", tenant["tenantId"]),
            ("plan", (tenant.get("plan") or {}).get("name")),
            ("role", output.word(answer.get("role", ""))),
        ],
    )


def _email(email: str | None) -> str:
    """The address, as far as can be told here: the gateway has the last word."""
    if email is not None:
        if problem := _problem(email):
            raise typer.BadParameter(problem, param_hint="EMAIL")
        return email
    if not sys.stdin.isatty():
        raise typer.BadParameter("say which address", param_hint="EMAIL")
    while True:
        email = passwords.typed("Email")
        if not (problem := _problem(email)):
            return email
        output.message(problem)


def _problem(email: str) -> str:
    local, _, domain = email.rpartition("@")
    if local and domain and "@" not in local and not any(map(str.isspace, email)):
        return ""
    return f"{email!r} must be an address such as ada@girih.test"


def _server(url: str | None, profile: str) -> "Server":
    """Where to log in: `profile` may be one that is still to be made."""
    if url is None and profile in _file().read():
        return options.server(profile)
    others = {name: value for name, value in os.environ.items() if name != "GIRIH_PROFILE"}
    return options.server(url, others)


def _anonymous(server: "Server") -> "Gateway":
    """The gateway of a server that answers, when a session can be kept: nobody types a password,
    or makes an account, in vain."""
    from cli.client.rest import LOOPBACK, Gateway

    parts = urlsplit(server.url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        output.message(
            f"note: {server.url} is not encrypted; others on the way can read the password"
        )
    with _file().locked():
        pass  # what will be kept has a place
    gateway = Gateway(server.url)
    gateway.check_alive()
    return gateway


def _file() -> "CredentialsFile":
    from cli.client.credentials import CredentialsFile, default_path

    return CredentialsFile(default_path(os.environ))
