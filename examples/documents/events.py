"""What happens to documents. For ever as docs/reference/documents.md lists them."""

from dataclasses import dataclass

from examples.documents.elements import Element
from examples.documents.values import Analysis, Conversion, FeedbackItem, Finding, Original, Policy


@dataclass(frozen=True, slots=True)
class DocumentUploaded:
    """There is a document."""

    original: Original


@dataclass(frozen=True, slots=True)
class DocumentConverted:
    """It is there in another format."""

    conversion: Conversion


@dataclass(frozen=True, slots=True)
class DocumentAnalysed:
    """An analyser has looked at it, and its findings and feedback begin anew."""

    analysis: Analysis


@dataclass(frozen=True, slots=True)
class FeedbackGiven:
    """Somebody has said what they think of the analysis."""

    item: FeedbackItem


@dataclass(frozen=True, slots=True)
class PolicyAssigned:
    """It is held against a policy, or a newer version of one."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class FindingRecorded:
    """It does not keep to a policy."""

    finding: Finding


@dataclass(frozen=True, slots=True)
class DocumentWithdrawn:
    """It is not to be seen any more."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class ElementExtracted:
    """An extractor has seen something in a document, which may not have been uploaded yet."""

    document: str
    element: Element
