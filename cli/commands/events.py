"""`girih events`: append to the log, read it, and follow it live."""

import json
import sys
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.terminal import options, output
from cli.terminal.formats import Format, record_with_numbers
from cli.terminal.help import Commands
from cli.terminal.output import Listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

app = Commands("The log of the tenant: append to it, read it, follow it.")

Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Which stream.")]
FromPosition = Annotated[
    int | None,
    typer.Option("--from", min=1, metavar="POSITION", help="The position of the first event."),
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="TYPE", help="Only events of this type; may be repeated."),
]
Since = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Only what was recorded then or later: 2h, 3d or 1d12h ago, or ISO 8601 as in"
        " 2026-11-29T09:30, which is UTC without a zone.",
    ),
]
Until = Annotated[str, typer.Option(metavar="TIME", help="Only what was recorded before it.")]
Backwards = Annotated[bool, typer.Option("--backwards", help="From newer to older.")]


_POSITIONS_END = 2**63
"""Behind the last position that a log can have."""


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
    schema_version: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="The version of its schema, as `girih schemas` has"),
    ] = 0,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Append one event. Answered means stored."""
    event: Json = {
        "id": event_id or str(uuid.uuid4()),
        "stream": stream,
        "type": type_,
        "tags": tag or [],
        "schemaVersion": schema_version,
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
    girih events list --stream permit-1 --type granted --type refused --since 3d
    girih events list -o jsonl | jq 'select(.position > 3020) | .event.type'
    """,
)
def list_(
    stream: Annotated[
        str, typer.Option(metavar="STREAM", help="Only this one. Unset means the whole log.")
    ] = "",
    types: Types = None,
    since: Since = "",
    until: Until = "",
    start: FromPosition = None,
    limit: options.Limit = 0,
    backwards: Backwards = False,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print the events of the log, in its order.

    Events of other types are read and passed over. To find a time takes some reads of one event:
    20 in a log of a million.
    """
    with options.gateway(url) as gateway:
        window = _window(gateway, since, until)
        events = _selected(gateway, stream, types or (), window, start, limit, backwards)
        _print(events, output_format, pager=pager)


@app.verb(
    examples="girih events read permit-1\ngirih events read permit-1 -o json | jq '.[0].event.json'"
)
def read(
    stream: Stream,
    types: Types = None,
    since: Since = "",
    until: Until = "",
    start: FromPosition = None,
    limit: options.Limit = 0,
    backwards: Backwards = False,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print the events of one stream. No such stream has none."""
    list_(stream, types, since, until, start, limit, backwards, pager, url, output_format)


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


@app.verb(
    examples="""
    girih events trace 54ecb27058a3c191f0c8e3c609983720
    girih events trace import-7 -o json | jq -r '.[].recorded.event.type' | sort | uniq -c
    """
)
def trace(
    correlation_id: Annotated[
        str, typer.Argument(metavar="CORRELATION_ID", help="Of an answer, an error or an event.")
    ],
    limit: Annotated[
        int, typer.Option("--limit", min=1, metavar="N", help="The most events to print.")
    ] = 10_000,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print what one request caused, over all streams, each event below its cause.

    An event is below the one that its causation id names. Payloads are not read.
    """
    path = f"/v1/traces/{options.segment(correlation_id)}"
    with options.gateway(url) as gateway:
        events = list(islice(gateway.pages(path, "events"), limit + 1))
    if len(events) > limit:
        output.message(f"this is not all: the first {limit:,} events; --limit asks for more")
    shown = events[:limit]
    rows = shown if output_format.is_document else _in_a_tree(shown)
    output.listing(rows, _TRACE, output_format, pager=pager)


def _in_a_tree(events: "Sequence[Json]") -> "Iterator[Json]":
    """The events, each behind its cause, with the branch that it is on."""
    from cli.terminal.tree import branches

    by_position = {int(one["recorded"]["position"]): one for one in events}
    above = {
        position: int(one["cause"]["position"])
        for position, one in by_position.items()
        if "cause" in one and int(one["cause"]["position"]) < position
    }
    for position, branch in branches(sorted(by_position), above):
        event = by_position[position]
        is_below_cause = above.get(position) in by_position
        caused_by = "" if is_below_cause else _caused_by(event)
        yield {**event["recorded"], "branch": branch, "causedBy": caused_by}


def _caused_by(traced: "Json") -> str:
    if "cause" not in traced:
        return str(traced["recorded"]["context"].get("causationId", ""))
    cause = traced["cause"]
    return f"position {int(cause['position']):,} of {cause['correlationId']}"


def _window(gateway: "Gateway", since: str, until: str) -> range:
    """The positions of what was recorded at or behind `since`, and before `until`."""
    if not (since or until):
        return range(1, _POSITIONS_END)
    from cli.client.recorded import RecordedTimes
    from cli.terminal.times import moment_of

    now = datetime.now(UTC)
    first, end = (
        since and moment_of(since, now, "--since"),
        until and moment_of(until, now, "--until"),
    )
    times = RecordedTimes(gateway)
    return range(
        times.first_since(first) if first else 1, times.first_since(end) if end else _POSITIONS_END
    )


def _selected(
    gateway: "Gateway",
    stream: str,
    types: Collection[str],
    window: range,
    start: int | None,
    limit: int,
    is_backwards: bool,
) -> Iterator[str]:
    """The events of the window, and of the types if there are any, from `start` on."""
    if is_backwards:
        window = range(window.start, min(window.stop, (start or _POSITIONS_END) + 1))
    else:
        window = range(max(window.start, start or 1), window.stop)
    if not window:
        return
    first = window[-1] if is_backwards else window[0]
    params: dict[str, str | int | bool | None] = {
        "fromPosition": first if first < _POSITIONS_END - 1 else None,
        "limit": limit if limit and not types else None,
        "direction": "DIRECTION_BACKWARDS" if is_backwards else None,
    }
    path = f"/v1/streams/{options.segment(stream)}/events" if stream else "/v1/events"
    with closing(gateway.lines("GET", path, params=params)) as lines:
        # What is in no window ends the list, and nothing is looked into that needs not be.
        is_bounded = window.start > 1 or window.stop < _POSITIONS_END
        inside = takewhile(lambda line: _position(line) in window, lines) if is_bounded else lines
        wanted = (line for line in inside if not types or _type(line) in types)
        yield from islice(wanted, limit or None)


def _position(line: str) -> int:
    return int(json.loads(line)["position"])


def _type(line: str) -> str:
    return str(json.loads(line)["event"]["type"])


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


_TRACE = Listing(
    name=lambda one: one["event"]["id"],
    columns=(
        Column(title="position", cell=lambda one: f"{int(one['position']):,}", is_number=True),
        Column(title="type", cell=lambda one: one["branch"] + one["event"]["type"], is_text=True),
        Column(title="stream", cell=lambda one: one["event"]["stream"], is_text=True),
        Column(title="recorded", cell=lambda one: moment(one.get("recordedAt", "")), rank=1),
        Column(title="caused by", cell=lambda one: one["causedBy"], is_text=True, rank=2),
        Column(title="event", cell=lambda one: one["event"]["id"], is_wide=True),
        Column(title="by", cell=lambda one: one["context"].get("actor", ""), is_wide=True),
    ),
    nothing="This correlation id caused no event.",
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
