"""Modules that others can do without."""

import gc
import subprocess
import sys

import pytest

from services.plumbing.importing import absent, uncollected


def test_a_module_is_absent_inside_and_there_again_behind() -> None:
    sys.modules.pop("this", None)
    with absent("this"), pytest.raises(ImportError):
        __import__("this")

    assert "this" not in sys.modules


def test_what_is_imported_already_is_absent_too_and_comes_back() -> None:
    with absent("subprocess"), pytest.raises(ImportError):
        __import__("subprocess")

    assert sys.modules["subprocess"] is subprocess


@pytest.mark.parametrize("process", ["services.events.app", "services.lattice.app"])
def test_services_import_nothing_that_draws_on_terminals(process: str) -> None:
    program = f"import sys, {process}; print('rich' in sys.modules, 'pygments' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.split() == ["False", "False"]


def test_nobody_looks_for_garbage_inside_and_somebody_does_behind() -> None:
    with uncollected():
        assert not gc.isenabled()

    assert gc.isenabled()
