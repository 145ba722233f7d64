"""Numbers in what is printed for programs."""

import json
from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FieldDescriptor

import girih
from cli.terminal.formats import INTEGERS, record_with_numbers, with_numbers

LONG = {
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_SINT64,
}
TEXT = {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_ENUM}
SERVICES = {f"girih.{name}.v1" for name in ("accounts", "events", "lattice", "ops", "projections")}
SPELLED = {"edges", "bytesAsGraph", "bytesAsMatrix", "count", "sites", "size"}
"""Integers of any size, which the contract has as strings."""
AMBIGUOUS = {"token"}
"""Of a lease an integer, of an invitation a text."""


def messages(
    parents: "Iterator[descriptor_pb2.DescriptorProto]",
) -> "Iterator[descriptor_pb2.DescriptorProto]":
    for message in parents:
        yield message
        yield from messages(iter(message.nested_type))


def fields() -> "Iterator[descriptor_pb2.FieldDescriptorProto]":
    files = descriptor_pb2.FileDescriptorSet.FromString(girih.DESCRIPTOR_SET.read_bytes())
    for file in files.file:
        if file.package in SERVICES:
            for message in messages(iter(file.message_type)):
                yield from message.field


def test_the_integers_are_those_of_the_contract_and_nothing_else_has_their_names() -> None:
    long = {field.json_name for field in fields() if field.type in LONG}
    texts = {field.json_name for field in fields() if field.type in TEXT}

    assert (long | SPELLED) - AMBIGUOUS == INTEGERS
    assert INTEGERS & texts == SPELLED


def test_integers_are_numbers_where_a_double_holds_them() -> None:
    answer = {
        "vertices": "9007199254740992",
        "edges": "9007199254740993",
        "path": {"steps": "-3", "sites": [["0", "1"], ["2", "3"]], "found": True},
        "name": "12",
    }

    assert with_numbers(answer) == {
        "vertices": 2**53,
        "edges": "9007199254740993",
        "path": {"steps": -3, "sites": [[0, 1], [2, 3]], "found": True},
        "name": "12",
    }


def test_what_callers_wrote_stays_as_it_is() -> None:
    event = {"json": {"position": "7"}, "metadata": {"size": "3"}, "type": "1"}

    assert with_numbers({"position": "1", "event": event}) == {"position": 1, "event": event}


@pytest.mark.parametrize("position", [1, 2**53])
def test_a_record_is_the_text_that_was_sent_but_for_its_place(position: int) -> None:
    rest = '"event":{"json":{"position":"1","n":1.50,"big":1e308,"many":12345678901234567890}}}'
    line = f'{{"position":"{position}","revision":"0",{rest}'

    assert record_with_numbers(line) == f'{{"position":{position},"revision":0,{rest}'


@pytest.mark.parametrize("upcast", ["", ',"upcast":{"fromVersion":1,"problem":""}'])
def test_what_took_a_record_is_told_by_a_number(upcast: str) -> None:
    gone = '"gone":{"reason":"GONE_REASON_DELETED","at":"2026-11-29T09:30:07Z","actor":"user:1"'
    event = f'"event":{{"json":{{"a":{{}},{gone},"position":"5"}}}},"tags":[]}}'
    line = f'{{"position":"4","revision":"0",{event},{gone},"position":"28"}}{upcast}}}'

    line_read = record_with_numbers(line)

    assert line_read == f'{{"position":4,"revision":0,{event},{gone},"position":28}}{upcast}}}'


def test_a_place_that_no_double_holds_stays_a_string() -> None:
    line = json.dumps({"position": str(2**53 + 1), "revision": "0"}, separators=(",", ":"))

    assert record_with_numbers(line) == line
