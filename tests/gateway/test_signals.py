"""Filters stand in a URL, and how far a stream is comes as events of their own names."""

import json
from typing import Any

import pytest

from gateway.contract.streams import stream_shape
from gateway.endpoints.stream_encodings import NDJSON, SSE, StreamEncodings
from gateway.transcoding.codec import Encoder
from gateway.transcoding.query import Query
from gateway.transcoding.validation import ValidationError
from girih.events.v1 import events_pb2 as pb

READ = pb.DESCRIPTOR.services_by_name["EventStoreService"].methods_by_name["Read"]
SIGNALS = {
    "checkpoint": pb.ReadResponse(checkpoint=pb.Checkpoint(position=7), incarnation="abc"),
    "caughtUp": pb.ReadResponse(caught_up=pb.CaughtUp(), incarnation="abc"),
    "fellBehind": pb.ReadResponse(fell_behind=pb.FellBehind(position=7)),
    "heartbeat": pb.ReadResponse(
        heartbeat=pb.Heartbeat(position=7, head_position=9, lag_count=2, lag={"seconds": 3})
    ),
}


def encoded(response: pb.ReadResponse, accept: str) -> str:
    encodings = StreamEncodings(READ.output_type, stream_shape(READ), Encoder())
    encoding = encodings.accepted(accept.encode())
    return b"".join(encoding.chunks(response.SerializeToString())).decode()


def in_url(query: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    Query(READ.input_type, set()).put_into(values, query.encode())
    return values


def test_signals_are_events_with_names_and_ids() -> None:
    texts = {name: encoded(response, SSE) for name, response in SIGNALS.items()}

    assert texts["checkpoint"] == ('event: checkpoint\nid: 7-abc\ndata: {"position":"7"}\n\n')
    assert texts["caughtUp"] == 'event: caughtUp\nid: 0-abc\ndata: {"position":"0"}\n\n'
    assert texts["fellBehind"] == 'event: fellBehind\nid: 7\ndata: {"position":"7"}\n\n'
    event, place, data = texts["heartbeat"].rstrip().split("\n")
    assert (event, place) == ("event: heartbeat", "id: 7")
    assert json.loads(data.removeprefix("data: ")) == {
        "position": "7",
        "headPosition": "9",
        "lagCount": "2",
        "lag": "3s",
    }


def test_lines_leave_signals_out() -> None:
    assert {encoded(response, NDJSON) for response in SIGNALS.values()} == {""}


def test_the_queries_of_a_filter_stand_in_a_url_as_json() -> None:
    values = in_url(
        "filter.queries=%7B%22types%22:%5B%22a%22%5D%7D"
        "&filter.queries={%22streamPrefix%22:%22b%22}&progress=true"
    )

    request = pb.ReadRequest(**values)
    assert request.progress
    assert list(request.filter.queries) == [pb.Query(types=["a"]), pb.Query(stream_prefix="b")]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{", "filter.queries"),
        ("[]", "filter.queries"),
        ("{%22type%22:%22a%22}", "filter.queries.type"),
        ("{%22types%22:%5B1%5D}", "filter.queries.types[0]"),
        ("{%22types%22:%5B%22a%22%5D,%22types%22:%5B%5D}", "filter.queries"),
    ],
)
def test_a_query_that_is_none_is_refused_by_its_path(text: str, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        in_url(f"filter.queries={text}")

    assert [name for name, _ in caught.value.violations] == [field]
