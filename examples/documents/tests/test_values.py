"""A value that makes no sense cannot be made."""

from collections.abc import Callable
from typing import Any

import pytest

from examples.documents.document import Document
from examples.documents.elements import Element, Kind, Location
from examples.documents.values import (
    Analysis,
    Conversion,
    FeedbackItem,
    Finding,
    InvalidValue,
    Original,
    Policy,
    Severity,
)

DIGEST = "0" * 64


@pytest.mark.parametrize(
    "make",
    [
        lambda: Original("", "a/b", 1, DIGEST, "Ada"),
        lambda: Original("a\n", "a/b", 1, DIGEST, "Ada"),
        lambda: Original("a", "a/b", 0, DIGEST, "Ada"),
        lambda: Original("a", "a/b", 1, DIGEST[1:], "Ada"),
        lambda: Original("a", "a/b", 1, DIGEST, "Ada Lovelace"),
        lambda: Conversion("markdown", 0, DIGEST),
        lambda: Conversion("markdown", 1, "x" * 64),
        lambda: Analysis("reader", 0, 0),
        lambda: Analysis("reader", 1, -1),
        lambda: FeedbackItem("Ada", 0),
        lambda: FeedbackItem("Ada", 6),
        lambda: FeedbackItem("", 3),
        lambda: FeedbackItem("Ada", 3, "x" * 2_001),
        lambda: Policy("p", 0, "title", 1),
        lambda: Policy("p", 1, "title", 0),
        lambda: Policy("p", 1, "", 1),
        lambda: Policy("p", 2**53, "title", 1),
        lambda: Finding("f", "p", Severity.NOTE, "", 1),
        lambda: Finding("f", "p", Severity.NOTE, "dark", 0),
        lambda: Location(0),
        lambda: Element(id="", kind=Kind.FORMULA, expression="x"),
        lambda: Element(id="e", kind=Kind.FORMULA),
        lambda: Element(id="e", kind=Kind.DEFINITION, term="tower"),
        lambda: Element(id="e", kind=Kind.TABLE),
        lambda: Element(id="e", kind=Kind.TABLE, rows=(("a", "b"), ("c",))),
        lambda: Element(id="e", kind=Kind.REFERENCE),
    ],
)
def test_a_value_that_makes_no_sense_cannot_be_made(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidValue):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda given: Original(given, "a/b", 1, DIGEST, "Ada"),
        lambda given: Original("a", "a/b", given, DIGEST, "Ada"),
        lambda given: Original("a", "a/b", 1, given, "Ada"),
        lambda given: Conversion(given, 1, DIGEST),
        lambda given: Analysis("reader", given, 0),
        lambda given: FeedbackItem("Ada", given),
        lambda given: FeedbackItem("Ada", 3, given),
        lambda given: Policy("p", 1, "title", 1, given),
        lambda given: Finding("f", "p", given, "dark", 1),
        Location,
        lambda given: Location(1, given),
        lambda given: Element(id="e", kind=given, expression="x"),
        lambda given: Element(id="e", kind=Kind.FORMULA, expression=given),
        lambda given: Element(id="e", kind=Kind.FORMULA, expression="x", variables=given),
        lambda given: Element(id="e", kind=Kind.TABLE, rows=given),
        lambda given: Element(id="e", kind=Kind.TABLE, rows=(given,)),
        lambda given: Element(id="e", kind=Kind.FORMULA, expression="x", location=given),
        lambda given: Element(id="e", kind=Kind.FORMULA, expression="x", metadata=given),
        lambda given: Document("1").withdraw(given, "There is a newer one."),
        lambda given: Document("1").withdraw("Ada", given),
    ],
)
@pytest.mark.parametrize("given", [True, 1.0, "\ud800", "\0", b"Ada", ["x"], {"x": 1}, object()])
def test_a_value_of_another_kind_cannot_be_made(
    make: Callable[[Any], object],
    given: Any,  # noqa: ANN401 - of any kind
) -> None:
    with pytest.raises(InvalidValue):
        make(given)


def test_what_values_were_made_of_may_change() -> None:
    metadata = {"seen": "once"}
    element = Element(id="e", kind=Kind.FORMULA, expression="x", metadata=metadata)

    metadata["seen"] = "twice"

    assert element.metadata == {"seen": "once"}


def test_values_do_not_change() -> None:
    item = FeedbackItem("Ada", 3)

    with pytest.raises(AttributeError):
        item.rating = 5  # type: ignore[misc] # what is tried
