"""`girih events`: append to the log, read it, and follow it live."""

import json
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Annotated

import typer

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
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="TAG", help="Only events with this tag; repeated: with all of them."
    ),
]
Category = Annotated[
    str,
    typer.Option(
        metavar="CATEGORY",
        help="Only of streams of this category: their names up to before the first `-`.",
    ),
]
Prefix = Annotated[
    str, typer.Option(metavar="PREFIX", help="Only of streams whose names begin so.")
]
Correlation = Annotated[
    str,
    typer.Option(
        metavar="CORRELATION_ID", help="Only what calls with this correlation id appended."
    ),
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
Upcast = Annotated[
    bool,
    typer.Option("--upcast", help="In the newest version that upcasters make of them."),
]
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
        event["json"] = options.json_given(payload, "the payload")
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
    girih events list --category permit --tag urgent --since 2h
    girih events list --type granted --upcast
    girih events list -o jsonl | jq 'select(.position > 3020) | .event.type'
    """,
)
def list_(
    stream: Annotated[
        str, typer.Option(metavar="STREAM", help="Only this one. Unset means the whole log.")
    ] = "",
    types: Types = None,
    tags: Tags = None,
    category: Category = "",
    prefix: Prefix = "",
    correlation: Correlation = "",
    since: Since = "",
    until: Until = "",
    start: FromPosition = None,
    limit: options.Limit = 0,
    backwards: Backwards = False,
    upcast: Upcast = False,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print the events of the log, in its order: those that meet all that is asked for.

    What is rare in the log is found without reading the rest. Of one stream (`--stream`) other
    events are read and passed over.
    """
    wanted = Wanted(stream, types or (), tags or (), category, prefix, correlation, upcast)
    with options.gateway(url) as gateway:
        window = _window(gateway, since, until)
        events = _selected(gateway, wanted, window, start, limit, backwards)
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
    upcast: Upcast = False,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print the events of one stream. No such stream has none."""
    with options.gateway(url) as gateway:
        window = _window(gateway, since, until)
        wanted = Wanted(stream, types or (), is_upcast=upcast)
        events = _selected(gateway, wanted, window, start, limit, backwards)
        _print(events, output_format, pager=pager)


@app.verb(
    examples="""
    girih events tail --stream permit-1
    girih events tail --category permit --type granted
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
    types: Types = None,
    tags: Tags = None,
    category: Category = "",
    prefix: Prefix = "",
    correlation: Correlation = "",
    limit: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="End after so many. 0 means go on until Ctrl-C."),
    ] = 0,
    upcast: Upcast = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Follow the log live: print what is appended, each event once, until Ctrl-C.

    Goes on where it was when a connection breaks or the gateway is away for a while. What does
    not end is no document: json is one event a line here, as jsonl is.
    """
    from cli.commands.tailing import followed

    wanted = Wanted(stream, types or (), tags or (), category, prefix, correlation, upcast)
    with options.gateway(url) as gateway:
        first = start or int(gateway.get("/v1/log").get("headPosition", 0)) + 1
        output.message(f"following {stream or 'the log'} from position {first:,} on")
        params = {"follow": True, "fromPosition": first, **wanted.params()}
        events = followed(gateway, wanted.path, params, output.message)
        events = filter(wanted.holds, events)
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
    from cli.terminal.times import moment_of

    now = datetime.now(UTC)
    moments = (
        since and moment_of(since, now, "--since"),
        until and moment_of(until, now, "--until"),
    )
    first, end = (
        moment and int(gateway.get("/v1/log/position", time=moment.isoformat())["position"])
        for moment in moments
    )
    return range(first or 1, end or _POSITIONS_END)


@dataclass(frozen=True)
class Wanted:
    """Which events are asked for: those that meet all that is given."""

    stream: str = ""
    types: Collection[str] = ()
    tags: Collection[str] = ()
    category: str = ""
    prefix: str = ""
    correlation_id: str = ""
    is_upcast: bool = False
    """They come as upcasters make them."""

    def __post_init__(self) -> None:
        if self.stream and (self.category or self.prefix):
            message = "is of no use beside --stream"
            raise typer.BadParameter(
                message, param_hint="--category" if self.category else "--prefix"
            )

    @property
    def path(self) -> str:
        if not self.stream:
            return "/v1/events"
        return f"/v1/streams/{options.segment(self.stream)}/events"

    @property
    def is_filtered_here(self) -> bool:
        """Of one stream the server gives all events."""
        return bool(self.stream and (self.types or self.tags or self.correlation_id))

    def params(self) -> "dict[str, str | bool]":
        """What the server is asked for. It tells how far it is, for nothing may be meant."""
        query = {
            "types": list(self.types),
            "tags": list(self.tags),
            "streamPrefix": self.prefix,
            "category": self.category,
            "correlationId": self.correlation_id,
        }
        given = {name: value for name, value in query.items() if value}
        params: dict[str, str | bool] = {"upcast": True} if self.is_upcast else {}
        if given and not self.stream:
            params |= {"filter.queries": json.dumps(given), "progress": True}
        return params

    def holds(self, line: str) -> bool:
        """Whether an event is one; asked only where the server does not know."""
        if not self.is_filtered_here:
            return True
        recorded = json.loads(line)
        event = recorded["event"]
        return (
            (not self.types or event["type"] in self.types)
            and set(self.tags) <= set(event["tags"])
            and self.correlation_id in ("", recorded["context"]["correlationId"])
        )


def _selected(
    gateway: "Gateway",
    wanted: Wanted,
    window: range,
    start: int | None,
    limit: int,
    is_backwards: bool,
) -> Iterator[str]:
    """The events of the window that are wanted, from `start` on."""
    if is_backwards:
        window = range(window.start, min(window.stop, (start or _POSITIONS_END) + 1))
    else:
        window = range(max(window.start, start or 1), window.stop)
    if not window:
        return
    first = window[-1] if is_backwards else window[0]
    params: dict[str, str | int | bool | None] = {
        "fromPosition": first if first < _POSITIONS_END - 1 else None,
        "limit": limit if limit and not wanted.is_filtered_here else None,
        **wanted.params(),
        "direction": "DIRECTION_BACKWARDS" if is_backwards else None,
    }
    with closing(gateway.lines("GET", wanted.path, params=params)) as lines:
        # What is in no window ends the list, and nothing is looked into that needs not be.
        is_bounded = window.start > 1 or window.stop < _POSITIONS_END
        inside = takewhile(lambda line: _position(line) in window, lines) if is_bounded else lines
        yield from islice(filter(wanted.holds, inside), limit or None)


def _position(line: str) -> int:
    return int(json.loads(line)["position"])


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
