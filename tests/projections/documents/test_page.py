"""docs/reference/documents.md says what events are: the example writes that, and it is shown."""

import json
import re
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest

from examples.documents import events
from girih.client.aggregates.values import Codec
from services.projections.shipped.documents import payloads
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "reference" / "documents.md").read_text()
EXAMPLES = re.findall(r"^`([a-z-]+)`[^`].*?```json\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)

WRITTEN = {
    "document-uploaded": events.DocumentUploaded,
    "document-converted": events.DocumentConverted,
    "document-analysed": events.DocumentAnalysed,
    "feedback-given": events.FeedbackGiven,
    "policy-assigned": events.PolicyAssigned,
    "finding-recorded": events.FindingRecorded,
    "document-withdrawn": events.DocumentWithdrawn,
    "element-extracted": events.ElementExtracted,
}
SHOWN = {
    "document-uploaded": payloads.Uploaded,
    "document-converted": payloads.Converted,
    "document-analysed": payloads.Analysed,
    "feedback-given": payloads.FeedbackGiven,
    "policy-assigned": payloads.PolicyAssigned,
    "finding-recorded": payloads.FindingRecorded,
    "element-extracted": payloads.ElementExtracted,
}


def names(kind: type) -> dict[str, Any]:
    """The fields of a class, with those of classes within."""
    hints = get_type_hints(kind)
    return {
        one.name: names(hints[one.name]) if is_dataclass(hints[one.name]) else None
        for one in fields(kind)
    }


def test_every_event_of_the_example_is_on_the_page() -> None:
    assert {event_type for event_type, _ in EXAMPLES} == WRITTEN.keys()


@pytest.mark.parametrize(("event_type", "example"), EXAMPLES, ids=[one for one, _ in EXAMPLES])
def test_the_example_writes_what_the_page_says(event_type: str, example: str) -> None:
    parsed = json.loads(example)
    codec: Codec[Any] = Codec(WRITTEN[event_type])

    assert codec.write(codec.read(parsed, is_complete=True)) == parsed
    assert keys(parsed, names(WRITTEN[event_type])) == names(WRITTEN[event_type])


@pytest.mark.parametrize(("event_type", "example"), EXAMPLES, ids=[one for one, _ in EXAMPLES])
def test_what_the_page_says_is_understood(event_type: str, example: str) -> None:
    if event_type in SHOWN:
        kind: type[Any] = SHOWN[event_type]
        Codec(kind).read(json.loads(example))


def keys(parsed: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """The members of an object, with those of objects within that are of classes."""
    return {
        name: keys(value, like[name]) if like.get(name) is not None else None
        for name, value in parsed.items()
    }
