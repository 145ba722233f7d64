"""The options that many commands have, and what most of them begin with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cli.client.rest import Gateway

DATA_DIR = Path(".girih")
DEFAULT_URL = "http://127.0.0.1:8000"

DataDir = Annotated[
    Path,
    typer.Option("--data", envvar="GIRIH_DATA", help="Where the database, logs and state are."),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="GIRIH_URL",
        help="The gateway. Unset means the one that `girih up` started here, or else"
        f" {DEFAULT_URL}.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def gateway(url: str | None) -> "Gateway":
    """The gateway that is meant, called as who is logged in."""
    from cli.client.rest import Gateway
    from cli.client.session import chosen

    gateway_url = url_of(url)
    return Gateway(gateway_url, chosen(gateway_url, os.environ))


def url_of(url: str | None) -> str:
    """What `--url` says, or where the `girih up` of this folder serves REST."""
    return _well_formed(url) if url else _running_url(data_dir()) or DEFAULT_URL


def data_dir() -> Path:
    """For commands that have no `--data` of their own."""
    return Path(os.environ.get("GIRIH_DATA") or DATA_DIR)


def _running_url(data_dir: Path) -> str | None:
    from cli.local import state
    from cli.local.ports import url_of_gateway

    running = state.read(data_dir)
    if running is None or not running.is_running():
        return None
    return url_of_gateway(running.environ)


def _well_formed(url: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
        raise typer.BadParameter(f"{url!r} is no URL of a gateway", param_hint="--url")
    return url.rstrip("/")


def segment(name: str) -> str:
    """A name as one part of a path, whatever is in it."""
    from urllib.parse import quote

    return quote(name, safe="")
