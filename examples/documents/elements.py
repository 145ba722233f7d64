"""What an extractor sees in a document: formulas, definitions, tables and references. Values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

from examples.documents.values import InvalidValue, check_count, check_kind, check_text

CELL_COUNT_MAX: Final = 10_000
TEXT_LENGTH_MAX: Final = 100_000


class Kind(Enum):
    """What an element is."""

    FORMULA = "formula"
    DEFINITION = "definition"
    TABLE = "table"
    REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an element is."""

    page: int
    section: str = ""

    def __post_init__(self) -> None:
        check_count("page", self.page, least=1)
        check_text("section", self.section, TEXT_LENGTH_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One formula, definition, table or reference; what the others have is empty."""

    id: str
    kind: Kind
    name: str = ""
    expression: str = ""
    """Of a formula."""
    variables: tuple[str, ...] = ()
    """Of a formula: the names in its expression."""
    term: str = ""
    """Of a definition."""
    definition: str = ""
    context: str = ""
    """The sentence around it."""
    rows: tuple[tuple[str, ...], ...] = ()
    """Of a table: its cells, all rows as long as the first."""
    target: str = ""
    """Of a reference: what it points to."""
    reference_type: str = ""
    location: Location | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_kinds()
        # What the caller has may change.
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        if not self.id:
            raise InvalidValue("an element must have an id")
        missing = [name for name in _NEEDED[self.kind] if not getattr(self, name)]
        if missing:
            raise InvalidValue(f"a {self.kind.value} must have {missing[0]}")
        if len({len(row) for row in self.rows}) > 1:
            raise InvalidValue("all rows of a table must have as many cells")
        if sum(map(len, self.rows)) > CELL_COUNT_MAX:
            raise InvalidValue(f"a table must have at most {CELL_COUNT_MAX:,} cells")

    def _check_kinds(self) -> None:
        check_kind("kind", self.kind, Kind)
        for name in _TEXTS:
            check_text(name, getattr(self, name), TEXT_LENGTH_MAX)
        _check_texts("variables", self.variables)
        check_kind("rows", self.rows, tuple)
        for row in self.rows:
            _check_texts("a row", row)
        if self.location is not None:
            check_kind("location", self.location, Location)
        check_kind("metadata", self.metadata, Mapping)
        _check_texts("metadata", (*self.metadata.keys(), *self.metadata.values()))


def _check_texts(name: str, texts: tuple[str, ...]) -> None:
    check_kind(name, texts, tuple)
    for text in texts:
        check_text(f"what is in {name}", text, TEXT_LENGTH_MAX)


_TEXTS: Final = (
    "id", "name", "expression", "term", "definition", "context", "target", "reference_type",
)  # fmt: skip

_NEEDED: Final = {
    Kind.FORMULA: ("expression",),
    Kind.DEFINITION: ("term", "definition"),
    Kind.TABLE: ("rows",),
    Kind.REFERENCE: ("target",),
}
