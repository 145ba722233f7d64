"""`girih events`: append to the log, read it, and follow it live."""

import json
import shutil
import sys
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.terminal import options, output

if TYPE_CHECKING:
    from cli.client.rest import Json

app = typer.Typer(help="The log of the tenant.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=0, help="The most events to print. 0 means all.")]
FromPosition = Annotated[
    int | None, typer.Option("--from", min=1, help="The position of the first event.")
]
Backwards = Annotated[bool, typer.Option("--backwards", help="From newer to older.")]


@app.command()
def append(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Which stream.")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="What happened.")],
    payload: Annotated[
        str | None, typer.Argument(metavar="JSON", help="In detail; - reads it from stdin.")
    ] = None,
    expect: Annotated[
        str,
        typer.Option(
            help="Only if the stream is in this state: `absent`, `exists`, or the revision of its"
            " last event. Otherwise ends with 75."
        ),
    ] = "",
    event_id: Annotated[
        str, typer.Option("--id", help="A UUID; the same again stores nothing. Unset makes one.")
    ] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A label; may be repeated.")] = None,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Append one event. Answered means stored."""
    event: Json = {
        "id": event_id or str(uuid.uuid4()),
        "stream": stream,
        "type": type_,
        "tags": tag or [],
    }
    if payload is not None:
        event["json"] = _decoded(sys.stdin.read() if payload == "-" else payload)
    preconditions = [_precondition(stream, expect)] if expect else []
    with options.gateway(url) as gateway:
        body = {"events": [event], "preconditions": preconditions}
        answer = gateway.post("/v1/events:append", body)
    if as_json:
        output.document(answer)
        return
    placement = answer["placements"][0]
    before = ", where it was already" if placement.get("alreadyStored") else ""
    position, revision = int(placement["position"]), int(placement.get("revision", 0))
    print(f"position {position:,}, revision {revision:,} of {stream}{before}")


@app.command(name="list")
def list_(
    start: FromPosition = None,
    limit: Limit = 0,
    backwards: Backwards = False,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the events of the log, in its order. With --json, one a line."""
    _read("/v1/events", start, limit, url, is_backwards=backwards, is_json=as_json)


@app.command()
def read(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="Which stream.")],
    start: FromPosition = None,
    limit: Limit = 0,
    backwards: Backwards = False,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the events of one stream. With --json, one a line. No such stream has none."""
    path = f"/v1/streams/{options.segment(stream)}/events"
    _read(path, start, limit, url, is_backwards=backwards, is_json=as_json)


@app.command()
def tail(
    stream: Annotated[str, typer.Option(help="Only this stream. Unset means the whole log.")] = "",
    start: Annotated[
        int | None,
        typer.Option("--from", min=1, help="The first position. Unset means what comes next."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="End after so many events. 0 means go on until Ctrl-C.")
    ] = 0,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Follow the log live: print what is appended, each event once, until Ctrl-C.

    Goes on where it was when a connection breaks or the gateway is away for a while.
    """
    from cli.commands.tailing import followed

    with options.gateway(url) as gateway:
        first = start or int(gateway.get("/v1/log").get("headPosition", 0)) + 1
        events = followed(gateway, stream, first, output.message)
        _print(islice(events, limit or None), is_json=as_json)


def _read(
    path: str, start: int | None, limit: int, url: str | None, *, is_backwards: bool, is_json: bool
) -> None:
    params = {
        "fromPosition": start,
        "limit": limit or None,
        "direction": "DIRECTION_BACKWARDS" if is_backwards else None,
    }
    with options.gateway(url) as gateway:
        _print(gateway.lines("GET", path, params=params), is_json=is_json)


def _print(events: Iterable[str], *, is_json: bool) -> None:
    """Programs get the very text that the gateway sent."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for event in events:
        print(event if is_json else _line(json.loads(event))[:width], flush=True)


def _line(recorded: "Json") -> str:
    event = recorded["event"]
    payload = event.get("json")
    text = "" if payload is None else json.dumps(payload, ensure_ascii=False)
    if event.get("binary"):
        text = f"{len(event['binary']) * 3 // 4:,} bytes"
    from cli.client.rest import printable

    line = (
        f"{int(recorded['position']):>7}  {output.moment(recorded.get('recordedAt', ''))}"
        f"  {event['stream']:<24}  {event['type']:<20}  {text}"
    )
    return printable(line.rstrip())


def _precondition(stream: str, expect: str) -> "Json":
    if expect.isascii() and expect.isdigit():
        return {"stream": stream, "revision": expect}
    if expect not in {"absent", "exists"}:
        message = f"must be absent, exists or a revision, not {expect!r}"
        raise typer.BadParameter(message, param_hint="--expect")
    return {"stream": stream, "state": f"STATE_{expect.upper()}"}


def _decoded(text: str) -> "Json":
    from cli.failure import Failed

    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed(f"the payload is not JSON: {error}", exit_codes.DATAERR) from error
