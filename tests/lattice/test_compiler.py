"""Where compiled kernels are kept."""

import os
from pathlib import Path

import pytest

from services.lattice.compiler import configure_compiler
from services.lattice.kernels.sources import digest


def test_the_directory_told_is_used_and_named_after_the_kernels(tmp_path: Path) -> None:
    environ: dict[str, str] = {}

    chosen = configure_compiler(tmp_path, environ)

    assert chosen.directory == tmp_path / f"kernels-{digest()}"
    assert environ["NUMBA_CACHE_DIR"] == str(chosen.directory)
    assert environ["OMP_WAIT_POLICY"] == "passive"


def test_without_a_directory_that_of_the_user_is_used(tmp_path: Path) -> None:
    chosen = configure_compiler(None, {"XDG_CACHE_HOME": str(tmp_path)})

    assert chosen.directory.parent == tmp_path / "girih"


def test_nobody_else_may_write_what_the_compiler_will_run(tmp_path: Path) -> None:
    for expected in (tmp_path, Path(os.devnull)):
        chosen = configure_compiler(expected, {})

        assert chosen.directory.stat().st_mode & 0o077 == 0


def test_where_nothing_can_be_written_a_temporary_directory_is_used() -> None:
    chosen = configure_compiler(Path(os.devnull), {})

    (chosen.directory / "probe").write_text("written")
    assert not chosen.directory.is_relative_to(os.devnull)
    assert not chosen.is_writable


def test_kernels_of_a_directory_that_cannot_be_written_are_used_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"kernels-{digest()}" / "kernels_of_a_folder"
    folder.mkdir(parents=True)
    (folder / "search.py310.nbc").write_text("compiled")
    # Of a file system that is read-only, which root may not write to either.
    monkeypatch.setattr("services.lattice.compiler._is_writable", lambda _directory: False)

    chosen = configure_compiler(tmp_path, {})

    assert (chosen.directory / "kernels_of_a_folder" / "search.py310.nbc").exists()
    assert not chosen.directory.is_relative_to(tmp_path)


def test_kernels_that_were_compiled_before_are_seen(tmp_path: Path) -> None:
    first = configure_compiler(tmp_path, {})
    (first.directory / "kernels_of_a_folder").mkdir()
    (first.directory / "kernels_of_a_folder" / "search.py310.nbc").touch()

    assert (first.is_filled, configure_compiler(tmp_path, {}).is_filled) == (False, True)
