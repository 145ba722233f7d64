"""Values come back from JSON as they were, and nothing else passes for one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NewType
from uuid import UUID

import hypothesis.strategies as st
import pytest
from hypothesis import given

from girih.client.aggregates.values import Codec, NotAsDeclared

Name = NewType("Name", str)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.0


@dataclass(frozen=True)
class Everything:
    name: Name
    is_on: bool
    ratio: float
    colour: Colour
    kind: Literal["a", "b", 3]
    moment: datetime
    day: date
    price: Decimal
    id: UUID
    points: tuple[Point, ...]
    pair: tuple[str, int]
    tags: frozenset[str]
    by_name: Mapping[str, Point]
    note: str | None = None
    parent: "Everything | None" = None


zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
texts = st.text(max_size=5)
points = st.builds(Point, st.integers(), st.floats(allow_nan=False, allow_infinity=False))
values = st.builds(
    Everything,
    name=texts.map(Name),
    is_on=st.booleans(),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    colour=st.sampled_from(Colour),
    kind=st.sampled_from(("a", "b", 3)),
    moment=st.datetimes(timezones=zones),
    day=st.dates(),
    price=st.decimals(allow_nan=False),
    id=st.uuids(),
    points=st.lists(points, max_size=2).map(tuple),
    pair=st.tuples(texts, st.integers()),
    tags=st.frozensets(texts, max_size=3),
    by_name=st.dictionaries(texts, points, max_size=2),
    note=st.none() | texts,
    parent=st.none(),
)


@given(values, values)
def test_what_was_written_is_read_as_it_was(value: Everything, parent: Everything) -> None:
    codec = Codec(Everything)
    whole = Everything(**{**vars(value), "parent": parent})

    assert codec.read(json.loads(json.dumps(codec.write(whole))), is_complete=True) == whole


def test_equal_sets_are_written_alike() -> None:
    @dataclass(frozen=True)
    class Tagged:
        tags: frozenset[str]

    texts = [str(n) for n in range(100)]

    written = [Codec(Tagged).write(Tagged(frozenset(some))) for some in (texts, texts[::-1])]
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("parsed", "where"),
    [
        ([], "it"),
        ({}, "x"),
        ({"x": True}, "/x"),
        ({"x": 1.0}, "/x"),
        ({"x": "1"}, "/x"),
        ({"x": 1, "y": "0"}, "/y"),
        ({"x": None}, "/x"),
    ],
)
def test_what_is_not_as_declared_is_refused_by_its_path(parsed: object, where: str) -> None:
    with pytest.raises(NotAsDeclared, match=where):
        Codec(Point).read(parsed)


@pytest.mark.parametrize(
    ("field_name", "wrong"),
    [
        ("colour", "green"),
        ("kind", 4),
        ("kind", True),
        ("moment", "2026-01-01T00:00:00"),
        ("moment", 5),
        ("day", "yesterday"),
        ("price", "much"),
        ("id", "1"),
        ("points", {"0": 1}),
        ("points", [{"y": 1.0}]),
        ("pair", ["a"]),
        ("tags", [1]),
        ("by_name", {"a": {"x": "b"}}),
        ("note", 3),
    ],
)
def test_every_kind_of_value_refuses_what_it_is_not(field_name: str, wrong: object) -> None:
    codec = Codec(Everything)
    example = Everything(
        name=Name("n"),
        is_on=True,
        ratio=1,
        colour=Colour.RED,
        kind="a",
        moment=datetime(2026, 1, 1, tzinfo=UTC),
        day=date(2026, 1, 1),
        price=Decimal(1),
        id=UUID(int=1),
        points=(),
        pair=("a", 1),
        tags=frozenset(),
        by_name={},
    )

    with pytest.raises(NotAsDeclared, match=f"/{field_name}"):
        codec.read({**codec.write(example), field_name: wrong})


def test_unknown_fields_are_passed_over_and_missing_ones_have_their_defaults() -> None:
    assert Codec(Point).read({"x": 1, "z": 2}) == Point(1)


@pytest.mark.parametrize("parsed", [{"x": 1}, {"x": 1, "y": 0.0, "z": 2}])
def test_what_must_be_complete_has_all_fields_and_no_others(parsed: object) -> None:
    with pytest.raises(NotAsDeclared):
        Codec(Point).read(parsed, is_complete=True)


@dataclass
class Changeable:
    x: int = 0


@dataclass(frozen=True)
class HasList:
    xs: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class HasChangeable:
    one: Changeable


@dataclass(frozen=True)
class HasEither:
    one: str | int


@dataclass(frozen=True)
class HasAny:
    one: Any


@pytest.mark.parametrize("kind", [Changeable, HasList, HasChangeable, HasEither, HasAny, int])
def test_classes_that_could_change_or_not_come_back_are_refused(kind: type) -> None:
    with pytest.raises(TypeError):
        Codec(kind)


def test_a_layout_changes_with_a_field_of_a_class_within_it() -> None:
    def of(kind: type) -> str:
        @dataclass(frozen=True)
        class Inner:
            one: kind  # type: ignore[valid-type] # a parameter of the test

        Inner.__annotations__["one"] = kind

        @dataclass(frozen=True)
        class Outer:
            inner: Inner

        Outer.__annotations__["inner"] = Inner
        return Codec(Outer).layout

    assert of(int) == of(int)
    assert of(int) != of(str)
