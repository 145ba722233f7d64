"""What is said of documents, as values that check themselves. Knows no event."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

COMMENT_LENGTH_MAX: Final = 2_000
NAME_LENGTH_MAX: Final = 255
RATING_MAX: Final = 5

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_ID: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")


class InvalidValue(ValueError):
    """A value that makes no sense was to be made; nothing has it."""


class Severity(Enum):
    """How bad a finding is, from least to worst."""

    NOTE = "note"
    WARNING = "warning"
    BREACH = "breach"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Original:
    """A document as somebody uploaded it."""

    name: str
    media_type: str
    byte_count: int
    sha256: str
    """Of its bytes: 64 characters of 0-9 a-f."""
    uploaded_by: str

    def __post_init__(self) -> None:
        _check_text("name", self.name, NAME_LENGTH_MAX)
        _check_text("media_type", self.media_type, NAME_LENGTH_MAX)
        _check_id("uploaded_by", self.uploaded_by)
        if self.byte_count < 1:
            raise InvalidValue("byte_count must be at least 1")
        if not _SHA256.fullmatch(self.sha256):
            raise InvalidValue("sha256 must be 64 characters of 0-9 a-f")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A document in another format."""

    format: str
    page_count: int
    sha256: str

    def __post_init__(self) -> None:
        _check_id("format", self.format)
        if self.page_count < 1:
            raise InvalidValue("page_count must be at least 1")
        if not _SHA256.fullmatch(self.sha256):
            raise InvalidValue("sha256 must be 64 characters of 0-9 a-f")


@dataclass(frozen=True, slots=True)
class Analysis:
    """What an analyser made of a document."""

    analyser: str
    version: int
    element_count: int
    """How many formulas, definitions, tables and references it saw."""

    def __post_init__(self) -> None:
        _check_id("analyser", self.analyser)
        if self.version < 1 or self.element_count < 0:
            raise InvalidValue("version must be at least 1, and element_count at least 0")


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """What one reader thinks of an analysis."""

    author: str
    rating: int
    """1 to 5, the more the better."""
    comment: str = ""

    def __post_init__(self) -> None:
        _check_id("author", self.author)
        if not 1 <= self.rating <= RATING_MAX:
            raise InvalidValue(f"rating must be 1 to {RATING_MAX}")
        if len(self.comment) > COMMENT_LENGTH_MAX:
            raise InvalidValue(f"comment must be at most {COMMENT_LENGTH_MAX} characters")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a document is held against."""

    id: str
    version: int
    title: str
    finding_count_max: int
    """With so many findings it is broken beyond repair, and no more are recorded."""
    severity_min: Severity = Severity.NOTE
    """What is less bad is no finding."""

    def __post_init__(self) -> None:
        _check_id("id", self.id)
        _check_text("title", self.title, NAME_LENGTH_MAX)
        if self.version < 1 or self.finding_count_max < 1:
            raise InvalidValue("version and finding_count_max must be at least 1")


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a document does not keep to a policy."""

    id: str
    policy: str
    severity: Severity
    message: str
    page: int

    def __post_init__(self) -> None:
        _check_id("id", self.id)
        _check_id("policy", self.policy)
        _check_text("message", self.message, COMMENT_LENGTH_MAX)
        if self.page < 1:
            raise InvalidValue("page must be at least 1")


def _check_text(name: str, text: str, length_max: int) -> None:
    if not 1 <= len(text) <= length_max or not text.isprintable():
        raise InvalidValue(f"{name} must be 1 to {length_max} printable characters")


def _check_id(name: str, text: str) -> None:
    if not _ID.fullmatch(text):
        raise InvalidValue(f"{name} must be 1 to 64 characters of A-Z a-z 0-9 _ . : @ -")
