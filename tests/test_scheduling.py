"""A run in several processes keeps together what shares something, and begins with what is long."""

import pytest

from tests.processes import ROOT
from tests.scheduling import APART, FIRST, TOGETHER, scope_of


@pytest.mark.parametrize("name", sorted({*APART, *FIRST, *TOGETHER}))
def test_what_is_named_is_there(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/cli/test_up.py::test_a[x::y]", "tests/cli/test_up.py"),
        ("tests/security/test_scopes.py::test_a", "tests/security/"),
        (f"{APART[0]}::test_a[x]", f"{APART[0]}::test_a[x]"),
    ],
)
def test_tests_stay_together_by_file_by_folder_or_not_at_all(nodeid: str, scope: str) -> None:
    assert scope_of(nodeid) == scope
