"""`girih api`: any route of the gateway, called as who is logged in."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlencode

import typer

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import options

if TYPE_CHECKING:
    import httpx

    from cli.client.rest import Gateway, Json

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_QUERY_METHODS = {"GET", "DELETE"}
_STREAM_QUIET_S = 3_600.0
"""A stream of lines says nothing while nothing happens; no call lasts longer."""

_path = re.compile(r"/(?!/)[!-~]*").fullmatch


def api(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PATCH or DELETE.")],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The route, as in /v1/log; /docs lists them all.")
    ],
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            "-f",
            metavar="KEY=TEXT",
            help="A member of the body, or with GET and DELETE of the query; may be repeated.",
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--json-field",
            "-F",
            metavar="KEY=JSON",
            help="The same with a number, true, a list or an object.",
        ),
    ] = None,
    body: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            allow_dash=True,
            # In a Path typer does not find the dash, so what comes is a str.
            path_type=str,
            help="The whole body instead; - is stdin.",
        ),
    ] = None,
    content_type: Annotated[
        str, typer.Option(metavar="TYPE", help="What --input is: application/x-ndjson for lines.")
    ] = "application/json",
    url: options.Url = None,
) -> None:
    """Call a route of the gateway and print the body of its answer, as it is.

    Lines of a stream are printed as they come. On a terminal JSON is indented. What is
    refused ends as with the other commands.
    """
    method = method.upper()
    if method not in _METHODS:
        raise typer.BadParameter(f"must be one of {', '.join(_METHODS)}", param_hint="METHOD")
    if not _path(path):
        # Another host would get the token.
        message = "must begin with one /, in ASCII without spaces"
        raise typer.BadParameter(message, param_hint="PATH")
    members = {**_texts(texts or ()), **_values(values or ())}
    if body is not None and members and method not in _QUERY_METHODS:
        raise typer.BadParameter("say --input, or -f and -F", param_hint="--input")
    content = None if body is None else _read(Path(body))
    if members and method in _QUERY_METHODS:
        query = urlencode({key: _plain(value) for key, value in members.items()}, doseq=True)
        path = f"{path}{'&' if '?' in path else '?'}{query}"
    elif content is None and method not in _QUERY_METHODS:
        content, content_type = json.dumps(members).encode(), "application/json"
    with options.gateway(url) as gateway:
        _print(gateway, method, path, content, content_type)


def _print(
    gateway: "Gateway", method: str, path: str, content: bytes | None, content_type: str
) -> None:
    headers = {} if content is None else {"Content-Type": content_type}
    answering = gateway.opened(
        method, path, content=content, headers=headers, read_timeout_s=_STREAM_QUIET_S
    )
    with answering as response, gateway.guarded():
        if response.headers.get("Content-Type", "").startswith("application/x-ndjson"):
            for line in gateway.lines_of(response):
                print(line, flush=True)
        else:
            response.read()
            _print_whole(response)


def _print_whole(response: "httpx.Response") -> None:
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("application/octet-stream"):
        if sys.stdout.isatty():
            message = "the answer is no text: send it to a file or to another command"
            raise Failed(message, exit_codes.USAGE)
        sys.stdout.buffer.write(response.content)
    elif kind.startswith("application/json") and sys.stdout.isatty():
        print(json.dumps(json.loads(response.content), ensure_ascii=False, indent=2))
    elif response.content:
        print(response.text.removesuffix("\n"))


def _texts(fields: Sequence[str]) -> "dict[str, Json]":
    return dict(_parted(field, "-f") for field in fields)


def _values(fields: Sequence[str]) -> "dict[str, Json]":
    members = {}
    for field in fields:
        key, text = _parted(field, "-F")
        try:
            members[key] = json.loads(text)
        except (ValueError, RecursionError) as error:
            message = f"{key} must be JSON: {error}"
            raise typer.BadParameter(message, param_hint="-F") from error
    return members


def _parted(field: str, option: str) -> tuple[str, str]:
    key, equals, text = field.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"must be KEY=VALUE, not {field!r}", param_hint=option)
    return key, text


def _plain(value: "Json") -> "Json":
    """As a query has it: true in lower case, a list as the same parameter again."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value if isinstance(value, str) else json.dumps(value)


def _read(file: Path) -> bytes:
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
