"""What may happen to a document, and what may not: decided on the state alone."""

from collections.abc import Callable

import pytest

from examples.documents.document import POLICY_COUNT_MAX, Document, NotAllowed
from examples.documents.elements import Element, Kind
from examples.documents.extraction import Extraction
from examples.documents.values import (
    Analysis,
    Conversion,
    FeedbackItem,
    Finding,
    Original,
    Policy,
    Severity,
)

DIGEST = "0" * 64
ORIGINAL = Original("towers.pdf", "application/pdf", 24, DIGEST, "Ada")
MARKDOWN = Conversion("markdown", 4, DIGEST)
STRICT = Policy("strict", 1, "What is always checked", 2, Severity.WARNING)


def finding(finding_id: str, severity: Severity = Severity.BREACH) -> Finding:
    return Finding(finding_id, "strict", severity, "It is dark.", page=1)


def uploaded() -> Document:
    document = Document("1")
    document.upload(ORIGINAL)
    return document


def analysed() -> Document:
    document = uploaded()
    document.convert(MARKDOWN)
    document.analyse(Analysis("reader", 1, 0))
    document.assign_policy(STRICT)
    return document


def withdrawn() -> Document:
    document = analysed()
    document.withdraw("Ada", "There is a newer one.")
    return document


COMMANDS: dict[str, Callable[[Document], object]] = {
    "convert": lambda one: one.convert(Conversion("html", 1, DIGEST)),
    "analyse": lambda one: one.analyse(Analysis("reader", 2, 0)),
    "give feedback": lambda one: one.give_feedback(FeedbackItem("Omar", 4)),
    "assign a policy": lambda one: one.assign_policy(Policy("other", 1, "Other", 1)),
    "record a finding": lambda one: one.record_finding(finding("f")),
    "withdraw": lambda one: one.withdraw("Eve", "I can."),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_happens_before_the_upload_nor_after_the_withdrawal(command: str) -> None:
    for document in Document("1"), withdrawn():
        count = len(document.pending)

        with pytest.raises(NotAllowed):
            COMMANDS[command](document)

        assert len(document.pending) == count


@pytest.mark.parametrize("command", COMMANDS)
def test_everything_may_happen_to_a_document_that_is_analysed(command: str) -> None:
    document = analysed()
    before = document.state

    COMMANDS[command](document)

    assert document.state != before


@pytest.mark.parametrize(
    "again",
    [
        lambda one: one.upload(ORIGINAL),
        lambda one: one.convert(MARKDOWN),
        lambda one: one.analyse(Analysis("reader", 1, 5)),
        lambda one: one.assign_policy(STRICT),
    ],
    ids=["upload", "convert", "analyse", "assign"],
)
def test_what_has_happened_does_not_happen_again(again: Callable[[Document], object]) -> None:
    with pytest.raises(NotAllowed):
        again(analysed())


def test_what_is_not_there_in_markdown_is_not_analysed() -> None:
    document = uploaded()
    document.convert(Conversion("html", 1, DIGEST))

    with pytest.raises(NotAllowed, match="markdown"):
        document.analyse(Analysis("reader", 1, 0))


def test_an_author_gives_feedback_once_on_an_analysis() -> None:
    document = analysed()
    document.give_feedback(FeedbackItem("Omar", 4))

    with pytest.raises(NotAllowed):
        document.give_feedback(FeedbackItem("Omar", 5))
    document.analyse(Analysis("reader", 2, 0))
    document.give_feedback(FeedbackItem("Omar", 5))

    assert document.state.feedback == (FeedbackItem("Omar", 5),)


def test_a_policy_takes_so_many_findings_of_its_severity_each_once() -> None:
    document = analysed()
    document.record_finding(finding("f-1"))

    for wrong in (finding("f-1"), finding("f-2", Severity.NOTE)):
        with pytest.raises(NotAllowed):
            document.record_finding(wrong)
    document.record_finding(finding("f-2"))
    with pytest.raises(NotAllowed, match="2 findings"):
        document.record_finding(finding("f-3"))

    assert [one.id for one in document.state.findings] == ["f-1", "f-2"]


def test_a_finding_is_of_a_policy_that_is_assigned() -> None:
    with pytest.raises(NotAllowed, match="not assigned"):
        analysed().record_finding(Finding("f", "lax", Severity.BREACH, "It is dark.", 1))


def test_a_later_version_takes_the_place_of_a_policy_and_there_are_only_so_many() -> None:
    document = analysed()
    for n in range(POLICY_COUNT_MAX - 1):
        document.assign_policy(Policy(f"p{n}", 1, "One of many", 1))
    later = Policy("strict", 2, "What is always checked", 9)
    document.assign_policy(later)

    with pytest.raises(NotAllowed):
        document.assign_policy(Policy("one.more", 1, "One too many", 1))

    assert document.state.policy("strict") == later
    assert len(document.state.policies) == POLICY_COUNT_MAX


def test_an_element_is_extracted_once() -> None:
    extraction = Extraction("1")
    tower = Element(id="tower", kind=Kind.REFERENCE, target="page 3")

    extraction.extract(tower, tower)
    extraction.extract(tower)

    assert len(extraction.pending) == 1
