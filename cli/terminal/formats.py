"""The forms in which answers are printed, and numbers as programs can compare them."""

import re
from enum import StrEnum
from typing import Any

Json = Any
"""A decoded JSON value."""


class Format(StrEnum):
    """What is printed: for people a table, for programs all there is."""

    table = "table"
    wide = "wide"
    json = "json"
    jsonl = "jsonl"
    yaml = "yaml"
    name = "name"

    @property
    def is_for_people(self) -> bool:
        return self in {Format.table, Format.wide}

    @property
    def is_document(self) -> bool:
        """All there is, for programs."""
        return self in {Format.json, Format.jsonl, Format.yaml}


INTEGERS = frozenset(
    {
        "actualRevision",
        "afterFirstPosition",
        "afterPosition",
        "analysisVersion",
        "atRevision",
        "auxiliaryBytes",
        "auxiliaryBytesMax",
        "blockedSites",
        "breachCount",
        "byteCount",
        "bytesAsGraph",
        "bytesAsMatrix",
        "bytesHeld",
        "callCount",
        "chunkShape",
        "clampedCount",
        "columnCount",
        "coordinates",
        "copiedPosition",
        "count",
        "countedPosition",
        "counts",
        "createdPosition",
        "damaged",
        "degree",
        "different",
        "differing",
        "discardSteps",
        "edges",
        "elapsedNs",
        "eventCount",
        "expectedRevision",
        "expectedVersion",
        "extentMax",
        "factor",
        "failedPosition",
        "feedbackCount",
        "fieldRevision",
        "findingCount",
        "first",
        "firstIndex",
        "firstPath",
        "firstPosition",
        "firstRevision",
        "fromPosition",
        "fromRevision",
        "gone",
        "head",
        "headPosition",
        "heads",
        "heldCount",
        "kept",
        "label",
        "labels",
        "lagCount",
        "lagEvents",
        "lanesSeen",
        "lastPosition",
        "lastRevision",
        "latticeRevision",
        "lengths",
        "limit",
        "maxAgeS",
        "maxCount",
        "memoryBytes",
        "metadataVersion",
        "minusRevision",
        "monthlyCallCountMax",
        "nanCount",
        "notReplayed",
        "number",
        "ofRevision",
        "offset",
        "origin",
        "page",
        "pageCount",
        "parkedCount",
        "position",
        "positions",
        "quarantinedCount",
        "recordEvery",
        "readPosition",
        "records",
        "reproduced",
        "revision",
        "rowCount",
        "seed",
        "seenElementCount",
        "shape",
        "siteCount",
        "siteCountMax",
        "siteCountMin",
        "sites",
        "sitesExpanded",
        "sitesMax",
        "size",
        "sizeBytes",
        "steps",
        "stepsDone",
        "streamCount",
        "tails",
        "toRevision",
        "totalCount",
        "truncateBefore",
        "updates",
        "version",
        "vertices",
        "waitingCount",
        "whole",
        "wholeHigh",
        "wholeLow",
    }
)
"""The fields of the contract that its JSON writes as strings of digits: of 64 bits and more. Not
`token`, which is a text elsewhere: a fencing token stays as JSON has it."""

UNTOUCHED = frozenset({"json", "metadata", "schema", "value"})
"""What callers wrote themselves, whatever their members are called."""

_EXACT_MAX = 2**53
"""Up to it, who reads numbers as doubles, as jq and JavaScript do, reads integers exactly."""

_integer = re.compile(r"-?(?:0|[1-9][0-9]{0,15})").fullmatch
_head_of_record = re.compile(
    r'\{"position":"([1-9][0-9]{0,15})"(?:,"revision":"(0|[1-9][0-9]{0,15})")?'
).match
_place_of_gone = re.compile(
    r'(\},"gone":\{"reason":"[A-Z_]+","at":"[^"]*","actor":"[^"]*","position":)"([1-9][0-9]{0,15})"'
    r'(?=\}(?:,"upcast":\{[^{}]*\})?\}$)'
)
"""At the end of a record, where nothing is that callers wrote."""


def with_numbers(value: Json) -> Json:
    """A JSON value of the contract with its integers as numbers, where a double is exact."""
    if isinstance(value, dict):
        return {key: _member(key, item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_numbers(item) for item in value]
    return value


def camel_case(name: str) -> str:
    """As the contract's JSON spells names: already_stored as alreadyStored."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def record_with_numbers(line: str) -> str:
    """The same for the text of a recorded event, of which all else stays as it was sent.

    What is between its revision and what took it may hold numbers that Python would spell in
    another way.
    """
    head = _head_of_record(line)
    if head is None:
        return line
    position, revision = head.groups()
    if int(position) > _EXACT_MAX:
        return line
    ours = f'{{"position":{position}' + (f',"revision":{revision}' if revision else "")
    return ours + _place_of_gone.sub(r"\1\2", line[head.end() :])


def _member(key: str, value: Json) -> Json:
    if key in UNTOUCHED:
        return value
    return _numbers(value) if key in INTEGERS else with_numbers(value)


def _numbers(value: Json) -> Json:
    """Strings of digits at any depth of lists: `sites` are a list of lists of them."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, str) and _integer(value) and abs(int(value)) <= _EXACT_MAX:
        return int(value)
    return with_numbers(value)
