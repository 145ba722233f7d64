"""The distribution of the server, installed in an environment that has nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import girih
from services.lattice.compiler import KernelCache
from tests.distributions import first_minutes, worker
from tests.distributions.building import PROJECTS, Environment, built, cloned
from tests.docs import pages

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

# Of both distributions, and what they bring into an environment.
SHOW = """
import sys
from importlib.metadata import version
from importlib.util import find_spec
names = ("cli", "gateway", "services", "grpc_tools", "mypy_protobuf", "hatchling")
print(version("girih"), version("girih-server"), *(name for name in names if find_spec(name)))
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    clone = cloned(folder / "clone")
    return {
        name: built("wheel", clone / project, folder / "wheels")
        for name, project in PROJECTS.items()
    }


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment.made(tmp_path_factory.mktemp("installed"), list(wheels.values()))


@pytest.fixture(scope="module")
def url(installed: Environment) -> Iterator[str]:
    """Where its `girih up` serves."""
    # Kernels that the tests have compiled already: their text is the same.
    kept = KernelCache.of(None, os.environ).directory.parent
    with first_minutes.running(installed, LATTICE_KERNEL_CACHE_DIR=str(kept)) as url:
        yield url


@pytest.fixture(scope="module")
def output(installed: Environment, url: str) -> str:
    """By the commands of the first five minutes, after which Ada has an account."""
    return first_minutes.followed(installed)


def test_the_first_five_minutes_are_as_the_readme_tells(output: str) -> None:
    assert "2 events appended" in output
    assert "0 events appended, 2 already there" in output


def test_the_tutorial_goes_as_it_tells(installed: Environment, output: str) -> None:
    folder = installed.home / "workshop"
    folder.mkdir()
    environ = {**installed.environ, "GIRIH_PASSWORD": "test123"}

    assert pages.followed("docs/tutorial/application.md", folder, environ) == 9


def test_the_version_is_one_wherever_it_is_told(installed: Environment, url: str) -> None:
    command = installed.run([str(installed.folder / "bin" / "girih-server"), "--version"])
    metadata = installed.run([str(installed.python), "-c", SHOW])
    document = httpx.get(f"{url}/openapi.json", timeout=30).json()

    assert command.stdout == f"girih {girih.__version__}\n"
    assert metadata.stdout.split() == [girih.__version__, girih.__version__]
    assert document["info"]["version"] == girih.__version__


def test_a_program_with_the_light_distribution_appends_follows_consumes_and_finds_a_path(
    wheels: dict[str, Path], installed: Environment, output: str, tmp_path: Path
) -> None:
    assert output
    light = Environment.made(tmp_path / "light", [wheels["girih"]], extra="lattice")

    assert worker.worked(light, installed) == worker.OUTPUT


@pytest.mark.parametrize("name", ["events", "lattice", "gateway"])
def test_each_service_is_a_command(installed: Environment, name: str) -> None:
    done = installed.run([str(installed.folder / "bin" / f"girih-{name}")])

    assert done.returncode == 78, done.stderr
    assert "GIRIH_TRUSTED_KEYS" in done.stderr + done.stdout
