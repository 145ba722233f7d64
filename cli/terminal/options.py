"""The options that many commands have, and what most of them begin with."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal.formats import Format

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json
    from girih.servers import Server

DATA_DIR = Path(".girih")


def _nearest(data_dir: Path) -> Path:
    """What `--data` says, or else the data directory of the nearest folder that has one."""
    from girih import servers

    if data_dir == DATA_DIR:
        return servers.data_dir_of({}, Path.cwd()) or data_dir.absolute()
    return data_dir.absolute()


DataDir = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FOLDER",
        envvar="GIRIH_DATA",
        callback=_nearest,
        help="Where the database, logs and state are. Unset means the nearest .girih, here or in"
        " a folder above.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        "--profile",
        envvar=["GIRIH_URL", "GIRIH_PROFILE"],
        metavar="URL|PROFILE",
        help="The gateway, or the profile that somebody logged in under. Unset means"
        " GATEWAY_ADDRESS, the `girih up` of this folder, or the last login.",
    ),
]
Output = Annotated[
    Format,
    typer.Option(
        "--output",
        "-o",
        metavar="FORMAT",
        help="How to print it; --json is short for -o json. Integers up to 2^53 are numbers.",
    ),
]
Limit = Annotated[
    int, typer.Option("--limit", min=0, metavar="N", help="The most to print. 0 means all.")
]
Pager = Annotated[
    bool,
    typer.Option(
        "--pager/--no-pager",
        help="On a terminal, show long lists in PAGER, or else in less.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do it without asking, as programs have to.")
]


def json_given(text: str, what: str) -> "Json":
    """The JSON of an argument, which is on stdin for `-`. Raises `Failed`, naming `what` it is."""
    from cli import exit_codes
    from cli.failure import Failed

    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        raise Failed(f"{what} is not JSON: {error}", exit_codes.DATAERR) from error


def gateway(url: str | None) -> "Gateway":
    """The gateway that is meant, called as who is logged in."""
    return gateway_of(server(url))


def gateway_of(server: "Server") -> "Gateway":
    """The gateway of a server, called as who is logged in there."""
    from cli.client.rest import Gateway
    from cli.client.session import chosen

    return Gateway(server.url, chosen(server, os.environ))


def server(url: str | None, environ: Mapping[str, str] = os.environ) -> "Server":
    """The girih that `--url` or `--profile` says, or else what `girih.servers` finds.

    Raises Failed when that is the `girih up` of a folder and it does not run.
    """
    from cli import exit_codes
    from cli.client.credentials import CredentialsFile, default_path
    from cli.failure import Failed
    from girih import servers

    sessions = CredentialsFile(default_path(os.environ)).read()
    try:
        result = servers.chosen(url, environ, Path.cwd(), sessions)
    except (servers.NoUrl, servers.NoProfile) as error:
        raise typer.BadParameter(str(error), param_hint="--url, --profile") from error
    except (servers.NotRunning, servers.NoServer) as error:
        raise Failed(str(error), exit_codes.UNAVAILABLE) from error
    if result.is_last:
        message = f"note: there is no girih here; this is profile {result.profile}, {result.url}"
        print(message, file=sys.stderr)
    return result


def segment(name: str) -> str:
    """A name as one part of a path, whatever is in it."""
    from urllib.parse import quote

    return quote(name, safe="")
