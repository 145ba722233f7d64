"""Snapshots of all versions that there were are loaded whole, and others not at all."""

import json
from typing import Any

import pytest

from examples.documents.document import State, fold
from examples.documents.tests.test_rules import MARKDOWN, ORIGINAL, analysed, finding
from examples.documents.values import FeedbackItem

FIRST: dict[str, Any] = {
    "original": {
        "name": "towers.pdf",
        "media_type": "application/pdf",
        "byte_count": 24,
        "sha256": "0" * 64,
        "uploaded_by": "Ada",
    },
    "conversion": {"format": "markdown", "page_count": 4, "sha256": "0" * 64},
    "analysis": None,
    "feedback": [{"author": "Omar", "rating": 4, "comment": ""}],
    "policies": [],
    "findings": [],
}
"""As version 1 wrote it."""
SECOND = {**{key: FIRST[key] for key in FIRST if key != "conversion"}, "conversions": []}
"""As version 2 did, of a document that was not converted."""


def snapshot(state: dict[str, Any]) -> bytes:
    return json.dumps({"layout": "of before", "state": state}).encode()


def test_a_snapshot_has_all_of_a_document() -> None:
    document = analysed()
    document.give_feedback(FeedbackItem("Omar", 4))
    document.record_finding(finding("f-1"))
    document.withdraw("Ada", "There is a newer one.")

    assert fold.restored(fold.snapshot(document.state), fold.version) == document.state


def test_the_snapshot_of_version_1_is_loaded() -> None:
    assert fold.restored(snapshot(FIRST), 1) == State(
        original=ORIGINAL, conversions=(MARKDOWN,), feedback=(FeedbackItem("Omar", 4),)
    )


def test_the_snapshot_of_version_2_is_loaded() -> None:
    assert fold.restored(snapshot(SECOND), 2) == State(
        original=ORIGINAL, feedback=(FeedbackItem("Omar", 4),)
    )


@pytest.mark.parametrize(
    ("state", "version"),
    [(FIRST, 2), (SECOND, 1), (SECOND, 3), ({}, 1), ({**SECOND, "more": 1}, 2)],
)
def test_what_is_not_of_its_version_is_not_loaded(state: dict[str, Any], version: int) -> None:
    assert fold.restored(snapshot(state), version) is None
