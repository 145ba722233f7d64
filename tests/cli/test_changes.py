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
    done = ada.does("lattices", "transform", lattice, "h", *steps)
    ada.does("lattices", "get", lattice, "h", "--output-file", str(back))
    changed = np.load(back)
    differing = ada.does("lattices", "diff", lattice, "h", "1", "--json").json["differing"]
    undone = ada.does("lattices", "undo", lattice, "h")
    redone = ada.does("lattices", "redo", lattice, "h")

    assert "in place" in done.out
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


def test_blocked_sites_are_written_transformed_and_turned(ada: Person, tmp_path: Path) -> None:
    lattice = ada.does("lattices", "create", "--shape", "4x6").out.strip()
    wall, chosen = tmp_path / "wall.txt", tmp_path / "chosen.npy"
    wall.write_text("###\n...\n")
    np.save(chosen, np.array([[True, True, False], [False, False, False]]))
    np.save(tmp_path / "walls.npy", np.arange(24.0).reshape(4, 6) // 21)

    written = ada.does(
        *("lattices", "write-blocked", lattice, str(wall), "--origin", "1,2"),
        *("--where", str(chosen), "--expected-revision", "0"),
    )

    assert "22" in written.out
    assert ada.does("lattices", "blocked", lattice).out.split() == [
        "......", "..##..", "......", "......"
    ]  # fmt: skip
    ada.does("lattices", "put", lattice, "walls", str(chosen.with_name("walls.npy")))
    assert "21" in ada.does("lattices", "block-by-field", lattice, "walls").out
    assert ada.does("lattices", "undo", lattice).out.startswith("vertices\t22\n")
    late = ada.girih(*("lattices", "write-blocked", lattice, str(wall), "--expected-revision", "0"))
    assert "LATTICE_CHANGED" in late.err
    moved = ada.does("lattices", "transform-blocked", lattice, '{"reflect": {"axes": [0]}}')
    assert "exact" in moved.out
    assert ada.does("lattices", "blocked", lattice).out.split()[2] == "..##.."
    assert "by the inverse" in ada.does("lattices", "undo", lattice).out
    assert "revision" in ada.does("lattices", "redo", lattice).out
    assert (
        "LATTICE_CHANGED" in ada.girih("lattices", "undo", lattice, "--expected-revision", "1").err
    )


def test_what_a_chain_would_make_is_drawn(ada: Person, tmp_path: Path) -> None:
    lattice = ada.does("lattices", "create", "--shape", "16x16").out.strip()
    file, png = tmp_path / "a.npy", tmp_path / "a.png"
    np.save(file, np.arange(256.0).reshape(16, 16))
    ada.does("lattices", "put", lattice, "h", str(file))

    done = ada.does(
        *("lattices", "preview", lattice, "h", '{"reflect": {"axes": [0]}}'),
        *("--output-file", str(png), "--pixels", "16"),
    )

    assert "exact" in done.err
    assert png.read_bytes().startswith(b"\x89PNG")
    late = ada.girih(
        "lattices", "transform", lattice, "h", '{"laplacian": {}}', "--expected-revision", "0"
    )
    assert "LATTICE_CHANGED" in late.err
