"""What events say, as far as it is shown: see docs/reference/documents.md. Knows no table.

Fields that nobody is shown are not looked at, so writers may have more.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

NAME_CHARS_MAX: Final = 255
RATING_MAX: Final = 5
TEXT_CHARS_MAX: Final = 65_536

_is_id: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]+").fullmatch
_is_kind: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}").fullmatch


@dataclass(frozen=True)
class Original:
    """A document as it was uploaded."""

    name: str
    media_type: str
    byte_count: int
    sha256: str
    uploaded_by: str

    def __post_init__(self) -> None:
        for name in ("name", "media_type", "sha256", "uploaded_by"):
            _check_length(name, getattr(self, name), NAME_CHARS_MAX)
        _check_number("byte_count", self.byte_count)


@dataclass(frozen=True)
class Uploaded:
    original: Original


@dataclass(frozen=True)
class Conversion:
    """A document in another format."""

    format: str
    page_count: int

    def __post_init__(self) -> None:
        _check_length("format", self.format, NAME_CHARS_MAX)
        _check_number("page_count", self.page_count)


@dataclass(frozen=True)
class Converted:
    conversion: Conversion


@dataclass(frozen=True)
class Analysis:
    """What an analyser made of a document."""

    analyser: str
    version: int
    element_count: int

    def __post_init__(self) -> None:
        _check_length("analyser", self.analyser, NAME_CHARS_MAX)
        _check_number("version", self.version)
        _check_number("element_count", self.element_count)


@dataclass(frozen=True)
class Analysed:
    analysis: Analysis


@dataclass(frozen=True)
class FeedbackItem:
    """What one reader thinks."""

    rating: int

    def __post_init__(self) -> None:
        if not 1 <= self.rating <= RATING_MAX:
            raise ValueError(f"rating must be 1 to {RATING_MAX}")


@dataclass(frozen=True)
class FeedbackGiven:
    item: FeedbackItem


@dataclass(frozen=True)
class Policy:
    """What a document is held against."""

    id: str

    def __post_init__(self) -> None:
        _check_length("id", self.id, NAME_CHARS_MAX)


@dataclass(frozen=True)
class PolicyAssigned:
    policy: Policy


@dataclass(frozen=True)
class Finding:
    """Where a document does not keep to a policy."""

    severity: str


@dataclass(frozen=True)
class FindingRecorded:
    finding: Finding


@dataclass(frozen=True)
class Location:
    """Where an element is."""

    page: int
    section: str = ""

    def __post_init__(self) -> None:
        _check_number("page", self.page)
        _check_length("section", self.section, NAME_CHARS_MAX)


@dataclass(frozen=True, kw_only=True)
class Element:
    """A formula, a definition, a table, a reference; what it has not is empty."""

    id: str
    kind: str
    name: str = ""
    expression: str = ""
    variables: tuple[str, ...] = ()
    term: str = ""
    definition: str = ""
    context: str = ""
    rows: tuple[tuple[str, ...], ...] = ()
    target: str = ""
    reference_type: str = ""
    location: Location | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _is_id(self.id):
            raise ValueError("id must not be empty, and have no control characters")
        if not _is_kind(self.kind):
            raise ValueError("kind must be 1 to 32 of a-z 0-9 _ -, the first a letter")
        for name in ("id", "name", "reference_type"):
            _check_length(name, getattr(self, name), NAME_CHARS_MAX)
        for name in ("expression", "term", "definition", "context", "target"):
            _check_length(name, getattr(self, name), TEXT_CHARS_MAX)

    @property
    def column_count(self) -> int:
        """Of a table: the cells of its longest row; 0 for others."""
        return max(map(len, self.rows), default=0)


@dataclass(frozen=True)
class ElementExtracted:
    document: str
    element: Element

    def __post_init__(self) -> None:
        if not self.document:
            raise ValueError("document must not be empty")
        _check_length("document", self.document, NAME_CHARS_MAX)


@dataclass(frozen=True)
class Ruled:
    """An event of `$streams`: what holds for a stream from then on."""

    stream: str
    position: str = ""
    """Of the event that it is about, in digits, where it is about one."""


def _check_length(name: str, text: str, chars_max: int) -> None:
    if len(text) > chars_max:
        raise ValueError(f"{name} must be at most {chars_max:,} characters")


def _check_number(name: str, number: int) -> None:
    if not 0 <= number < 2**63:
        raise ValueError(f"{name} must be at least 0, and fit 64 bits")
