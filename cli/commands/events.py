"""`girih events`: append to the log, read it, and follow it live."""

import json
import sys
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.terminal import options, output
from cli.terminal.formats import Format, record_with_numbers
from cli.terminal.help import Commands
from cli.terminal.output import Listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Json

app = Commands("The log of the tenant: append to it, read it, follow it.")

Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Which stream.")]
FromPosition = Annotated[
    int | None,
    typer.Option("--from", min=1, metavar="POSITION", help="The position of the first event."),
]
Backwards = Annotated[bool, typer.Option("--backwards", help="From newer to older.")]


@app.verb(
    examples="""
    girih events append permit-1 submitted '{"by": "Ada"}'
    girih events append permit-1 granted - --expect 0 < decision.json
    """
)
def append(
    stream: Stream,
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
    output_format: options.Output = Format.table,
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
    if output_format.is_document:
        output.document(answer, output_format)
        return
    placement = answer["placements"][0]
    before = ", where it was already" if placement.get("alreadyStored") else ""
    position, revision = int(placement["position"]), int(placement.get("revision", 0))
    print(f"position {position:,}, revision {revision:,} of {stream}{before}")


@app.verb(
    "list",
    examples="""
    girih events list --limit 20 --backwards
    girih events list -o jsonl | jq 'select(.position > 3020) | .event.type'
    """,
)
def list_(
    start: FromPosition = None,
    limit: options.Limit = 0,
    backwards: Backwards = False,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print the events of the log, in its order."""
    with options.gateway(url) as gateway:
        params = _params(start, limit, is_backwards=backwards)
        _print(gateway.lines("GET", "/v1/events", params=params), output_format, pager=pager)


@app.verb(
    examples="girih events read permit-1\ngirih events read permit-1 -o json | jq '.[0].event.json'"
)
def read(
    stream: Stream,
    start: FromPosition = None,
    limit: options.Limit = 0,
    backwards: Backwards = False,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print the events of one stream. No such stream has none."""
    path = f"/v1/streams/{options.segment(stream)}/events"
    with options.gateway(url) as gateway:
        params = _params(start, limit, is_backwards=backwards)
        _print(gateway.lines("GET", path, params=params), output_format, pager=pager)


@app.verb(
    examples="""
    girih events tail --stream permit-1
    girih events tail --from 1 -o jsonl | jq --unbuffered .event.type
    """
)
def tail(
    stream: Annotated[
        str, typer.Option(metavar="STREAM", help="Only this one. Unset means the whole log.")
    ] = "",
    start: Annotated[
        int | None,
        typer.Option(
            "--from",
            min=1,
            metavar="POSITION",
            help="The first position. Unset means what comes next.",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="End after so many. 0 means go on until Ctrl-C."),
    ] = 0,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Follow the log live: print what is appended, each event once, until Ctrl-C.

    Goes on where it was when a connection breaks or the gateway is away for a while. What does
    not end is no document: json is one event a line here, as jsonl is.
    """
    from cli.commands.tailing import followed

    with options.gateway(url) as gateway:
        first = start or int(gateway.get("/v1/log").get("headPosition", 0)) + 1
        output.message(f"following {stream or 'the log'} from position {first:,} on")
        events = followed(gateway, stream, first, output.message)
        is_json = output_format is Format.json
        _print(islice(events, limit or None), Format.jsonl if is_json else output_format, live=True)


def _params(
    start: int | None, limit: int, *, is_backwards: bool
) -> dict[str, str | int | bool | None]:
    return {
        "fromPosition": start,
        "limit": limit or None,
        "direction": "DIRECTION_BACKWARDS" if is_backwards else None,
    }


_EVENTS = Listing(
    name=lambda one: one["event"]["id"],
    columns=(
        Column(
            title="position",
            cell=lambda one: f"{int(one['position']):,}",
            is_number=True,
        ),
        Column(
            title="recorded", cell=lambda one: moment(one.get("recordedAt", "")), rank=2, width=20
        ),
        Column(title="stream", cell=lambda one: one["event"]["stream"], is_text=True, width=16),
        Column(title="type", cell=lambda one: one["event"]["type"], is_text=True, width=12),
        Column(title="event", cell=lambda one: one["event"]["id"], is_wide=True),
        Column(title="payload", cell=lambda one: _payload(one["event"]), is_text=True, rank=1),
    ),
    nothing="There are no events.",
)


def _print(
    events: Iterable[str], output_format: Format, *, pager: bool = False, live: bool = False
) -> None:
    """Programs get the very text that the gateway sent, but for its place as numbers."""
    if not output_format.is_document:
        output.listing(map(json.loads, events), _EVENTS, output_format, pager=pager, live=live)
        return
    texts = map(record_with_numbers, events)
    output.print_lines(output.documents(texts, output_format), pager=pager, live=live)


def _payload(event: "Json") -> str:
    if event.get("binary"):
        return f"{len(event['binary']) * 3 // 4:,} bytes"
    payload = event.get("json")
    return "" if payload is None else json.dumps(payload, ensure_ascii=False)


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
