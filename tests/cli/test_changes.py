"""Fields changed from the command line, against a real gateway."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Person

pytestmark = pytest.mark.e2e


def test_a_field_is_changed_turned_compared_and_verified(ada: Person, tmp_path: Path) -> None:
    lattice = ada.does("lattices", "create", "--shape", "4x6").out.strip()
    array = np.random.default_rng(4).normal(size=(4, 6))
    file, back = tmp_path / "a.npy", tmp_path / "b.npy"
    np.save(file, array)
    ada.does("lattices", "put", lattice, "h", str(file))

    steps = ['{"reflect": {"axes": [1]}}', '{"translate": {"offset": [1, 0]}}']
    told = ada.does("lattices", "transform", lattice, "h", *steps)
    ada.does("lattices", "get", lattice, "h", "--output-file", str(back))
    changed = np.load(back)
    differing = ada.does("lattices", "diff", lattice, "h", "1", "--json").json["differing"]
    undone = ada.does("lattices", "undo", lattice, "h")
    redone = ada.does("lattices", "redo", lattice, "h")

    assert "in place" in told.out
    assert np.array_equal(changed, np.roll(array[:, ::-1], 1, 0))
    assert int(differing) == 24
    assert "by the inverse" in undone.out
    assert "revision" in redone.out
    history = ada.does("lattices", "history", lattice).out
    assert [word in history for word in ("written", "transformed", "undone", "redone")] == [
        True
    ] * 4
    sums = ada.does("lattices", "verify", lattice, "--json").json["sums"]
    assert int(sums["reproduced"]) == 3
    assert ada.girih("lattices", "transform", lattice, "h", "nonsense").code == 2
