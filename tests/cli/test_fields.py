"""Fields and pictures from the command line, against a real gateway."""

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Person

pytestmark = pytest.mark.e2e

SHAPE = (40, 60)


@pytest.fixture
def lattice(ada: Person) -> str:
    return ada.does("lattices", "create", "--shape", "40x60").out.strip()


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(4).normal(size=SHAPE)


def test_a_field_goes_up_and_comes_down(
    ada: Person, lattice: str, array: np.ndarray, tmp_path: Path
) -> None:
    there, back, thin = tmp_path / "a.npy", tmp_path / "b.npy", tmp_path / "c.raw"
    np.save(there, array)

    ada.does("lattices", "put", lattice, "height", str(there))
    ada.does("lattices", "get", lattice, "height", "--output-file", str(back))
    options = ["--origin", "1,2", "--steps", "10,20"]
    ada.does("lattices", "get", lattice, "height", "--output-file", str(thin), *options)

    assert np.array_equal(np.load(back), array)
    assert thin.read_bytes() == array[1::10, 2::20].tobytes()
    assert "height" in ada.does("lattices", "fields", lattice).out
    assert ada.does("lattices", "get", lattice, "height", "--json").json["sizeBytes"] == 19_200


def test_an_upload_is_gone_on_with(
    ada: Person, lattice: str, array: np.ndarray, tmp_path: Path
) -> None:
    file = tmp_path / "a.raw"
    file.write_bytes(array.tobytes())

    upload = ada.does(
        "lattices", "put", lattice, "h", str(file), "--type", "float64", "--resumable"
    )
    upload_id = upload.err.split("--resume ")[1].split()[0]
    again = ada.girih("lattices", "put", lattice, "h", str(file), "--resume", upload_id)

    assert again.code != 0
    assert "UPLOAD_NOT_FOUND" in again.err
    assert ada.does("lattices", "get", lattice, "h", "--json").json["name"] == "h"


def test_a_file_that_is_not_as_long_as_its_field_is_refused_with_the_upload_to_go_on_with(
    ada: Person, lattice: str, array: np.ndarray, tmp_path: Path
) -> None:
    whole, short = tmp_path / "a.raw", tmp_path / "b.raw"
    whole.write_bytes(array.tobytes())
    short.write_bytes(array.tobytes()[:100])
    words = ("lattices", "put", lattice, "h", str(short))
    route = f"/v1/lattices/{lattice}/fields/h/uploads"
    begin = ("api", "POST", route, "-f", "numberType=NUMBER_TYPE_FLOAT64")

    fresh = ada.girih(*words, "--type", "float64", "--resumable")
    upload_id = ada.does(*begin).json["uploadId"]
    again = ada.girih(*words, "--resume", upload_id)
    ada.does("lattices", "put", lattice, "h", str(whole), "--resume", upload_id)

    assert (fresh.code, again.code) == (65, 65)
    assert "must be 19,200 bytes long, not 100" in fresh.err
    assert "--resume" not in fresh.err
    assert f"must be 19,200 bytes long, not 100; then --resume {upload_id}" in again.err


def test_statistics_and_a_picture_are_told(
    ada: Person, lattice: str, array: np.ndarray, tmp_path: Path
) -> None:
    file, picture = tmp_path / "a.npy", tmp_path / "a.png"
    np.save(file, array)
    ada.does("lattices", "put", lattice, "height", str(file))

    statistics = ada.does("lattices", "stats", lattice, "height", "--bins", "4", "--json").json
    ends = ["--from", "0,0", "--to", "39,59"]
    ada.does("lattices", "render", lattice, "height", "--output-file", str(picture), *ends)

    assert statistics["low"] == array.min()
    assert sum(map(int, statistics["histogram"]["counts"])) == array.size
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_file_that_does_not_fit_is_refused(ada: Person, lattice: str, tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, np.zeros((3, 3)))

    refused = ada.girih("lattices", "put", lattice, "height", str(file))

    assert refused.code == 65
    assert "shape [40, 60]" in refused.err


def test_a_path_costs_what_a_field_says(ada: Person, lattice: str, tmp_path: Path) -> None:
    file = tmp_path / "toll.npy"
    np.save(file, np.full(SHAPE, 3, np.uint8))
    ada.does("lattices", "put", lattice, "toll", str(file))
    digest = ada.does("lattices", "get", lattice, "toll", "--json").json["digest"]
    ends = ("--from", "0,0", "--to", "0,9", "--costs", "toll")

    answer = ada.does("paths", "find", lattice, *ends, "--json").json
    distances = ada.does("lattices", "distances", lattice, *ends, "--mean", "-o", "json").json

    assert answer["path"]["length"] == 27
    assert answer["computation"]["costsDigest"] == digest
    assert [one["distance"] for one in distances] == [27]
    assert ada.girih("paths", "find", lattice, *ends[:4], "--mean").code == 2


def test_components_are_told_or_written(ada: Person, tmp_path: Path) -> None:
    text, file = tmp_path / "maze.txt", tmp_path / "labels.npy"
    text.write_text("..#.\n..#.\n")
    made = ada.does("lattices", "create", "--blocked", str(text)).out.strip()

    assert ada.does("lattices", "components", made).out == "0\t4\t0,0\t0\t\n1\t2\t0,3\t0\t\n"
    components = ada.does("lattices", "components", made, "--limit", "1", "--json").json
    assert (components["count"], len(components["components"])) == (2, 1)
    ada.does("lattices", "components", made, "--output-file", str(file))
    assert np.load(file).tolist() == [[0, 0, -1, 1], [0, 0, -1, 1]]


def test_the_most_central_sites_are_told_or_all_written(ada: Person, tmp_path: Path) -> None:
    file = tmp_path / "closeness.npy"
    made = ada.does("lattices", "create", "--shape", "3x5").out.strip()
    words = ("lattices", "centrality", made)

    top = ada.does(*words, "betweenness", "--top", "1", "-o", "json").json
    assert [one["site"] for one in top] == [[1, 2]]
    assert ada.does(*words, "degree", "--site", "0,0", "--site", "1,1").out == "0,0\t2\n1,1\t4\n"
    ada.does(*words, "closeness", "--output-file", str(file))
    assert np.load(file).argmax() == 7
    assert ada.girih(*words, "degree", "--site", "0,0", "--top", "3").code == 2
    refused = ada.girih(*words, "degree", "--site", "9,9")
    assert (refused.code, refused.err.startswith("--site[0]")) == (65, True)
