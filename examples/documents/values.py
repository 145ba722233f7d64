"""What is said of documents, as values that check themselves. Knows no event."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

COMMENT_LENGTH_MAX: Final = 2_000
NAME_LENGTH_MAX: Final = 255
RATING_MAX: Final = 5
COUNT_MAX: Final = 2**53 - 1
"""JSON is read by programs to which numbers beyond are not exact."""

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
        check_title("name", self.name)
        check_title("media_type", self.media_type)
        check_id("uploaded_by", self.uploaded_by)
        check_count("byte_count", self.byte_count, least=1)
        _check_sha256(self.sha256)


@dataclass(frozen=True, slots=True)
class Conversion:
    """A document in another format."""

    format: str
    page_count: int
    sha256: str

    def __post_init__(self) -> None:
        check_id("format", self.format)
        check_count("page_count", self.page_count, least=1)
        _check_sha256(self.sha256)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What an analyser made of a document."""

    analyser: str
    version: int
    element_count: int
    """How many formulas, definitions, tables and references it saw."""

    def __post_init__(self) -> None:
        check_id("analyser", self.analyser)
        check_count("version", self.version, least=1)
        check_count("element_count", self.element_count, least=0)


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """What one reader thinks of an analysis."""

    author: str
    rating: int
    """1 to 5, the more the better."""
    comment: str = ""

    def __post_init__(self) -> None:
        check_id("author", self.author)
        check_count("rating", self.rating, least=1, most=RATING_MAX)
        check_text("comment", self.comment, COMMENT_LENGTH_MAX)


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
        check_id("id", self.id)
        check_title("title", self.title)
        check_count("version", self.version, least=1)
        check_count("finding_count_max", self.finding_count_max, least=1)
        check_kind("severity_min", self.severity_min, Severity)


@dataclass(frozen=True, slots=True)
class Finding:
    """Where a document does not keep to a policy."""

    id: str
    policy: str
    severity: Severity
    message: str
    page: int

    def __post_init__(self) -> None:
        check_id("id", self.id)
        check_id("policy", self.policy)
        check_kind("severity", self.severity, Severity)
        check_title("message", self.message, COMMENT_LENGTH_MAX)
        check_count("page", self.page, least=1)


def check_kind(name: str, value: object, kind: type) -> None:
    """Annotations bind nobody: what comes from a form may be of any kind."""
    if not isinstance(value, kind):
        raise InvalidValue(f"{name} must be of the kind {kind.__name__}")


def check_count(name: str, value: int, *, least: int, most: int = COUNT_MAX) -> None:
    # True is an int, and 1.0 is as large as 1.
    if type(value) is not int or not least <= value <= most:
        raise InvalidValue(f"{name} must be a whole number from {least} to {most}")


def check_text(name: str, text: str, length_max: int) -> None:
    """Any text that JSON and databases can hold, line breaks and none at all included."""
    if not _is_text(text) or len(text) > length_max or "\0" in text:
        raise InvalidValue(f"{name} must be a text of at most {length_max} characters, none NUL")


def check_title(name: str, text: str, length_max: int = NAME_LENGTH_MAX) -> None:
    if not _is_text(text) or not 1 <= len(text) <= length_max or not text.isprintable():
        raise InvalidValue(f"{name} must be 1 to {length_max} printable characters")


def check_id(name: str, text: str) -> None:
    if not _is_text(text) or not _ID.fullmatch(text):
        raise InvalidValue(f"{name} must be 1 to 64 characters of A-Z a-z 0-9 _ . : @ -")


def _check_sha256(text: str) -> None:
    if not _is_text(text) or not _SHA256.fullmatch(text):
        raise InvalidValue("sha256 must be 64 characters of 0-9 a-f")


def _is_text(text: object) -> bool:
    """Halves of surrogate pairs are no characters, and cannot be stored."""
    return isinstance(text, str) and not any("\ud800" <= one <= "\udfff" for one in text)
