"""A file of indicators is taken as a whole, or refused with everything that is wrong with it."""

from pathlib import Path

import pytest

from services.projections.shipped.indicators.definitions import (
    WrongIndicators,
    read_definitions,
)
from tests.projections.indicators.declared import INDICATORS

GOOD = '[[indicator]]\nname = "a"\ntypes = ["t"]\noperation = "count"\n'


def read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "indicators.toml"
    path.write_text(text)
    read_definitions(path)


def test_a_good_file_is_taken() -> None:
    names = [one.name for one in INDICATORS.indicators]

    assert names == ["open_cases", "paid"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace('"a"', '"A b"'), "name must be"),
        (GOOD.replace('["t"]', "[]"), "types must be"),
        (GOOD.replace("count", "median"), "operation must be count or sum"),
        (GOOD.replace("count", "sum"), "path must be there for a sum"),
        (GOOD.replace("count", "sum") + 'path = "amount"\n', "path must be a JSON Pointer"),
        (GOOD + 'window = "week"\n', "window must be"),
        (GOOD + "colour = 1\n", "colour means nothing"),
        (GOOD + GOOD, "there are several of this name"),
        (GOOD + '[indicator.labels.tenant]\nfrom = "type"\nvalues = ["t"]\n', "not tenant"),
        (GOOD + '[indicator.labels.x]\nfrom = "y"\nvalues = ["t"]\n', "from must be"),
        (GOOD + '[indicator.labels.x]\nfrom = "/y"\nvalues = ["other"]\n', "not 'other'"),
        ("indicator = 3\n", "indicator must be tables"),
        ("[[indicator\n", "Expected"),
    ],
    ids=lambda text: text.splitlines()[-1][:30] if "\n" in text else text[:20],
)
def test_what_is_wrong_is_named(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(WrongIndicators) as refused:
        read(tmp_path, text)

    assert problem in str(refused.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(WrongIndicators) as refused:
        read(tmp_path, GOOD.replace("count", "median").replace('"a"', '"A"'))

    assert len(refused.value.problems) == 2


def test_what_makes_other_numbers_is_another_version(tmp_path: Path) -> None:
    first, other = tmp_path / "first.toml", tmp_path / "other.toml"
    first.write_text(GOOD + 'help = "one"\n')
    other.write_text(GOOD + 'help = "two"\n')
    same = read_definitions(first).version == read_definitions(other).version
    other.write_text(GOOD + 'window = "day"\n')

    assert same
    assert read_definitions(first).version != read_definitions(other).version
