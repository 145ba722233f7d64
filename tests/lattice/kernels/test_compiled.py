"""What compiling promises: all of it ahead of the first call, and a cache that is never stale."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from services.lattice.kernels import (
    buckets,
    components,
    counting,
    diagonal,
    jump,
    runs,
    sources,
    straight,
    wire,
)
from services.lattice.kernels.components import can_be_labelled, components_of
from services.lattice.kernels.counting import count_edges
from services.lattice.kernels.fields import flood, masked, padded
from services.lattice.kernels.fields.distances import measure
from services.lattice.kernels.grid import prepare
from services.lattice.kernels.searches import search_on
from services.lattice.kernels.warm import compile_all
from services.lattice.kernels.wire import packed_numbers, run_messages
from tests.processes import ROOT

MODULES: Sequence[ModuleType] = (
    buckets,
    components,
    counting,
    diagonal,
    flood,
    jump,
    masked,
    padded,
    runs,
    straight,
    wire,
)


def compiled_so_far() -> dict[str, Sequence[Any]]:
    """The kernels and the kinds of arguments that each is compiled for."""
    return {
        f"{module.__name__}.{name}": tuple(value.signatures)
        for module in MODULES
        for name, value in vars(module).items()
        if hasattr(value, "signatures") and value.signatures
    }


SHOW_CACHE = """
import os
from services.lattice.compiler import configure_compiler
configure_compiler(None, os.environ)
from services.lattice.kernels import counting
print(counting.__file__, counting.read_bits.stats.cache_path)
"""


def test_a_copy_of_the_sources_finds_what_was_compiled_before(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "events")
    shutil.copytree(ROOT / "services", tmp_path / "services", ignore=ignored)

    done = subprocess.run(
        [sys.executable, "-c", SHOW_CACHE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    here: Any = counting.read_bits
    file, cache_path = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert cache_path == here.stats.cache_path


@pytest.mark.timeout(300)
def test_nothing_is_compiled_but_ahead() -> None:
    compile_all()
    ahead = compiled_so_far()
    go = np.zeros(1, np.uint8)

    for blocked in (b"", bytes([2, 0]), np.array([2, 0], np.uint8)):
        for periodic in ((False, False), (True, True), (True, False)):
            for moore, no_cutting in ((False, True), (True, True), (True, False)):
                grid = prepare(
                    (3, 4), periodic, moore=moore, no_cutting=no_cutting, blocked=blocked
                )
                count_edges(grid, go)
                path = search_on(grid).find((0, 0), (2, 3), go)
                path = path.listing(grid.shape, grid.periodic, (0, 0), 5)
                packed_numbers(path.sites)
                run_messages(path.run_steps, path.run_counts, 1)
                measure(grid, [(0, 0)], go, targets=[(2, 3)])
                if can_be_labelled(grid):
                    components_of(grid, go)
                for shape in ((2, 2, 2), (30, 30, 30)):
                    cube = prepare(
                        shape, (False,) * 3, moore=moore, no_cutting=no_cutting, blocked=b""
                    )
                    measure(cube, [(0, 0, 0)], go).at(slice(None))

    assert compiled_so_far() == ahead


def test_the_digest_changes_with_any_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "kernels"
    shutil.copytree(Path(sources.__file__).parent, copy)
    before = sources.digest()
    monkeypatch.setattr(sources, "__file__", str(copy / "sources.py"))
    same = sources.digest()

    (copy / "fields" / "flood.py").write_text("changed")

    assert same == before
    assert sources.digest() != before
