"""Simulations from the command line, against a real gateway."""

import re
from pathlib import Path

import numpy as np
import pytest

from cli.commands.simulating.display import measured, observed, pace
from tests.cli.conftest import Person

pytestmark = pytest.mark.e2e


def test_a_job_is_started_watched_listed_shown_and_its_series_kept(
    ada: Person, tmp_path: Path
) -> None:
    made = ada.does("lattices", "create", "--shape", "8x8", "--periodic")
    model = ("ising", "--set", "temperature=2.0", "--steps", "50", "--seed", "7")

    ended = ada.does("jobs", "start", made.out.strip(), *model, "--result", "spins", "--watch")

    assert "succeeded" in ended.out
    job_id = ada.does("jobs", "list", "-o", "name").out.strip()
    assert "energy" in ada.does("jobs", "show", job_id[:8]).out
    ada.does("jobs", "series", job_id, "--output-file", str(tmp_path / "rows.npy"))
    assert np.load(tmp_path / "rows.npy").shape == (50, 4)
    assert ada.does("jobs", "series", job_id).out.startswith("step,energy")
    assert "spins" in ada.does("lattices", "fields", made.out.strip()).out
    assert "JOB_ENDED" in ada.girih("jobs", "cancel", job_id).err
    assert "JOB_ENDED" in ada.girih("jobs", "render", job_id).err
    sums = ada.does("lattices", "verify", made.out.strip(), "--json").json["sums"]
    assert int(sums["reproduced"]) == 1


def test_a_job_is_cancelled_and_gone_on_with(ada: Person) -> None:
    lattice = ada.does("lattices", "create", "--shape", "8x8").out.strip()
    started = ada.does(
        *("jobs", "start", lattice, "walks", "--set", "walkers=10", "--set", "target=0,0"),
        *("--steps", "100000000000"),
    )
    job_id = ada.does("jobs", "list", "--open", "-o", "name").out.strip()

    assert re.search("waiting|running", started.out)
    _cancel(ada, job_id)
    assert ada.does("jobs", "list", "--open", "-o", "name").out == ""
    assert re.search("waiting|running", ada.does("jobs", "continue", job_id).out)
    _cancel(ada, job_id)
    refused = ada.girih("jobs", "start", lattice, "ising", "--set", "temperature=0", "--steps", "5")
    assert "must be above 0" in refused.err


def _cancel(ada: Person, job_id: str) -> None:
    """It is waited for a moment by the call itself, and here until it has stopped."""
    ada.does("jobs", "cancel", job_id)
    assert "cancelled" in ada.does("jobs", "watch", job_id).out


def test_blocked_sites_are_transformed_and_components_labelled_by_workers(
    ada: Person, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    grid = tmp_path / "grid.txt"
    grid.write_text("..#.\n..#.\n..#.\n")
    lattice = ada.does("lattices", "create", "--from-map", str(grid)).out.strip()
    turned = ("jobs", "transform-blocked", lattice, '{"reflect": {"axes": [1]}}')

    blocked = ada.does(*turned, "--expected-revision", "0", "--watch")
    labelled = ada.does("jobs", "label", lattice, "components", "--watch")

    assert re.search(r"state\s+succeeded", blocked.out)
    assert "blocked sites, digest" in blocked.out
    assert re.search(r"model\s+component labels", labelled.out)
    assert re.search(r"state\s+succeeded", labelled.out)
    file = tmp_path / "components.npy"
    ada.does("lattices", "get", lattice, "components", "--output-file", str(file))
    assert np.load(file).tolist() == [[0, -1, 1, 1]] * 3
    assert "LATTICE_CHANGED" in ada.girih(*turned, "--expected-revision", "0").err


def test_what_a_job_has_computed_so_far_is_drawn(ada: Person, tmp_path: Path) -> None:
    lattice = ada.does("lattices", "create", "--shape", "16x16", "--periodic").out.strip()
    model = ("ising", "--set", "temperature=2.0", "--steps", "100000000000")
    ada.does("jobs", "start", lattice, *model)
    job_id, png = ada.does("jobs", "list", "--open", "-o", "name").out.strip(), tmp_path / "a.png"
    drawing = ("jobs", "render", job_id, "--output-file", str(png), "--pixels", "16")

    while (drawn := ada.girih(*drawing)).code:
        assert "JOB_NOT_BEGUN" in drawn.err
    ada.does("jobs", "cancel", job_id)

    assert "steps" in drawn.err
    assert png.read_bytes().startswith(b"\x89PNG")


def test_progress_is_told_in_a_line() -> None:
    each = {"name": "energy", "mean": -1.5, "error": 0.01}
    progress = {"stepsPerS": 1234.5, "leftS": 3723.0, "observables": [each]}

    assert pace(progress) == "1.23e+03 steps/s, 1:02:03 left"
    assert observed(progress) == "energy -1.5 ± 0.01"
    assert measured({"name": "energy", "mean": 2.0}, digits=3) == "2"
    assert measured({"name": "return_step"}, digits=3) == "none yet"
