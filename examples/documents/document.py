"""A document: its state, how events change it, and the commands with their rules. Knows no server.

Version 3 of the state. In version 1 there was one conversion at most, and until version 2 nobody
withdrew documents.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from examples.documents.events import (
    DocumentAnalysed,
    DocumentConverted,
    DocumentUploaded,
    DocumentWithdrawn,
    FeedbackGiven,
    FindingRecorded,
    PolicyAssigned,
)
from examples.documents.values import (
    COMMENT_LENGTH_MAX,
    Analysis,
    Conversion,
    FeedbackItem,
    Finding,
    Original,
    Policy,
    check_id,
    check_title,
)
from girih.client import Aggregate, Fold

ANALYSED_FORMAT: Final = "markdown"
"""What analysers read."""
POLICY_COUNT_MAX: Final = 8


class NotAllowed(Exception):
    """A rule says no, and nothing has happened."""


@dataclass(frozen=True, slots=True)
class State:
    """A document, with all that is needed to decide what may happen to it."""

    original: Original | None = None
    conversions: tuple[Conversion, ...] = ()
    analysis: Analysis | None = None
    feedback: tuple[FeedbackItem, ...] = ()
    """On the analysis, in the order it was given."""
    policies: tuple[Policy, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Of the analysis, in the order they were recorded."""
    withdrawn_by: str = ""

    def policy(self, policy_id: str) -> Policy | None:
        """The version that is assigned; None when none is."""
        return next((one for one in self.policies if one.id == policy_id), None)


fold: Final = Fold(State(), version=3)


@fold.on("document-uploaded", DocumentUploaded)
def uploaded(state: State, event: DocumentUploaded) -> State:
    return replace(state, original=event.original)


@fold.on("document-converted", DocumentConverted)
def converted(state: State, event: DocumentConverted) -> State:
    return replace(state, conversions=(*state.conversions, event.conversion))


@fold.on("document-analysed", DocumentAnalysed)
def analysed(state: State, event: DocumentAnalysed) -> State:
    return replace(state, analysis=event.analysis, feedback=(), findings=())


@fold.on("feedback-given", FeedbackGiven)
def feedback_given(state: State, event: FeedbackGiven) -> State:
    return replace(state, feedback=(*state.feedback, event.item))


@fold.on("policy-assigned", PolicyAssigned)
def policy_assigned(state: State, event: PolicyAssigned) -> State:
    others = tuple(one for one in state.policies if one.id != event.policy.id)
    return replace(state, policies=(*others, event.policy))


@fold.on("finding-recorded", FindingRecorded)
def finding_recorded(state: State, event: FindingRecorded) -> State:
    return replace(state, findings=(*state.findings, event.finding))


@fold.on("document-withdrawn", DocumentWithdrawn)
def withdrawn(state: State, event: DocumentWithdrawn) -> State:
    return replace(state, withdrawn_by=event.by)


@fold.upgrade(1)
def _several_conversions(state: dict[str, Any]) -> dict[str, Any]:
    conversion = state.pop("conversion")
    return {**state, "conversions": [] if conversion is None else [conversion]}


@fold.upgrade(2)
def _withdrawals(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "withdrawn_by": ""}


class Document(Aggregate[State]):
    """A document and what may be done with it. Commands raise NotAllowed."""

    category = "document"
    fold = fold
    snapshot_every = 50

    def upload(self, original: Original) -> None:
        """Once, before everything else."""
        if self.exists:
            raise NotAllowed("the document is uploaded already")
        self.record(DocumentUploaded(original))

    def convert(self, conversion: Conversion) -> None:
        """Once into each format."""
        self._must_be_open()
        if any(one.format == conversion.format for one in self.state.conversions):
            raise NotAllowed(f"the document is converted into {conversion.format} already")
        self.record(DocumentConverted(conversion))

    def analyse(self, analysis: Analysis) -> None:
        """When it is there in markdown, and by a later version than before."""
        self._must_be_open()
        before = self.state.analysis
        if all(one.format != ANALYSED_FORMAT for one in self.state.conversions):
            raise NotAllowed(f"the document must be converted into {ANALYSED_FORMAT} first")
        if before and before.version >= analysis.version:
            raise NotAllowed(f"version {before.version} has analysed the document already")
        self.record(DocumentAnalysed(analysis))

    def give_feedback(self, item: FeedbackItem) -> None:
        """Once by each author on one analysis."""
        self._must_be_analysed()
        if any(one.author == item.author for one in self.state.feedback):
            raise NotAllowed(f"{item.author} has given feedback already")
        self.record(FeedbackGiven(item))

    def assign_policy(self, policy: Policy) -> None:
        """One that is not assigned, or a later version of it."""
        self._must_be_open()
        before = self.state.policy(policy.id)
        if before and before.version >= policy.version:
            raise NotAllowed(f"version {before.version} of {policy.id} is assigned already")
        if before is None and len(self.state.policies) >= POLICY_COUNT_MAX:
            raise NotAllowed(f"a document has at most {POLICY_COUNT_MAX} policies")
        self.record(PolicyAssigned(policy), tags=(f"policy:{policy.id}",))

    def record_finding(self, finding: Finding) -> None:
        """Of a policy that is assigned, bad enough for it, and not more than it takes."""
        self._must_be_analysed()
        policy = self.state.policy(finding.policy)
        if policy is None:
            raise NotAllowed(f"{finding.policy} is not assigned")
        if finding.severity.rank < policy.severity_min.rank:
            raise NotAllowed(f"{policy.id} begins with {policy.severity_min.value}")
        if any(one.id == finding.id for one in self.state.findings):
            raise NotAllowed(f"{finding.id} is recorded already")
        if sum(one.policy == policy.id for one in self.state.findings) >= policy.finding_count_max:
            raise NotAllowed(f"{policy.id} has {policy.finding_count_max} findings already")
        self.record(FindingRecorded(finding), tags=(f"policy:{policy.id}",))

    def withdraw(self, by: str, reason: str) -> None:
        """Then nothing happens to it any more. Raises InvalidValue, as values do."""
        check_id("by", by)
        check_title("reason", reason, COMMENT_LENGTH_MAX)
        self._must_be_open()
        self.record(DocumentWithdrawn(by, reason))

    def _must_be_open(self) -> None:
        if self.state.original is None:
            raise NotAllowed("the document must be uploaded first")
        if self.state.withdrawn_by:
            raise NotAllowed(f"{self.state.withdrawn_by} has withdrawn the document")

    def _must_be_analysed(self) -> None:
        self._must_be_open()
        if self.state.analysis is None:
            raise NotAllowed("the document must be analysed first")
