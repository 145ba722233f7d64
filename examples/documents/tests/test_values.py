"""A value that makes no sense cannot be made."""

from collections.abc import Callable

import pytest

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


def test_values_do_not_change() -> None:
    item = FeedbackItem("Ada", 3)

    with pytest.raises(AttributeError):
        item.rating = 5  # type: ignore[misc] # what is tried
