"""Where it listens: chosen, remembered, and looked at before anything is installed."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.local import addresses, state
from tests.processes import ROOT, free_port


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        yield f"127.0.0.1:{squatter.getsockname()[1]}"


def test_what_is_chosen_once_is_chosen_the_next_time(tmp_path: Path) -> None:
    first = addresses.chosen(tmp_path, {"GATEWAY_ADDRESS": "127.0.0.1:1", "EVENTS_ADDRESS": None})
    addresses.remember(tmp_path, first)

    assert addresses.chosen(tmp_path, {}) == first
    assert first["EVENTS_ADDRESS"] == addresses.DEFAULTS["EVENTS_ADDRESS"]

    addresses.remember(tmp_path, addresses.chosen(tmp_path, addresses.DEFAULTS))

    assert addresses.remembered(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"GATEWAY_ADDRESS": "nonsense"}'])
def test_what_cannot_be_read_is_not_remembered(tmp_path: Path, text: str) -> None:
    (tmp_path / "addresses.json").write_text(text)

    assert addresses.chosen(tmp_path, {}) == addresses.DEFAULTS


def test_for_an_address_that_is_taken_a_free_one_is_named(taken: str) -> None:
    free = {name: str(free_port()) for name in addresses.DEFAULTS if name.endswith("PORT")}
    free |= {name: f"127.0.0.1:{free_port()}" for name in addresses.DEFAULTS if name not in free}

    result = addresses.obstacles({**free, "GATEWAY_ADDRESS": taken}, addresses.as_options)

    first, hint = result.splitlines()
    assert first.startswith(f"{taken} is taken by ")
    assert hint.startswith("choose another: girih up --gateway-address 127.0.0.1:")
    other = hint.rpartition(" ")[2]
    assert addresses.obstacles({**free, "GATEWAY_ADDRESS": other}, addresses.as_options) == ""


def test_for_several_that_are_taken_different_ones_are_named(taken: str) -> None:
    """As beside another girih, whose addresses lie close together."""
    port = taken.rpartition(":")[2]
    all_taken = {name: port if name.endswith("_PORT") else taken for name in addresses.DEFAULTS}
    named = dict[str, str]()

    addresses.obstacles(all_taken, lambda others: str(named.update(others)))

    assert named.keys() == addresses.DEFAULTS.keys()
    assert len({one.rpartition(":")[2] for one in named.values()}) == len(named)
    assert addresses.obstacles(named, addresses.as_options) == ""


def test_an_address_that_is_chosen_twice_is_told_of() -> None:
    address = f"127.0.0.1:{free_port()}"
    any_port = {
        name: "0" if name.endswith("_PORT") else "127.0.0.1:0" for name in addresses.DEFAULTS
    }
    both = {"EVENTS_ADDRESS": address, "LATTICE_ADDRESS": address}

    result = addresses.obstacles({**any_port, **both}, addresses.as_options)

    assert addresses.obstacles(any_port, addresses.as_options) == ""
    first, hint = result.splitlines()
    assert first == f"{address} is chosen for both EVENTS_ADDRESS and LATTICE_ADDRESS"
    assert hint.startswith("choose another: girih up --lattice-address 127.0.0.1:")


def test_make_is_told_with_nothing_installed(taken: str, tmp_path: Path) -> None:
    """Isolated, so that no package is found but those of the standard library."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import runpy; "
    code += "runpy.run_module('cli.local.addresses', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code],
        cwd=tmp_path,
        env={"GATEWAY_ADDRESS": taken},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"{taken} is taken by " in done.stderr
    assert "GATEWAY_ADDRESS=127.0.0.1:" in done.stderr.splitlines()[-1]
    assert done.stderr.endswith(" make up\n")
    assert "Traceback" not in done.stderr


def test_make_is_told_that_it_is_up_already(tmp_path: Path) -> None:
    own = state.Started.of("up", os.getpid())
    state.write(tmp_path, state.State(own, {}))

    done = subprocess.run(
        [sys.executable, "-m", "cli.local.addresses"],
        cwd=ROOT,
        env={"GIRIH_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"(process {os.getpid()})" in done.stdout
