"""What is built of a commit: the same bytes each time, and the light distribution alone."""

import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import girih
from tests.distributions.building import (
    PROJECTS,
    Environment,
    built,
    cloned,
    requirements,
    unpacked,
)

LIGHT = {"googleapis-common-protos", "grpcio", "protobuf"}

# One type for each kind of rpc and of channel.
TYPED = """
import grpc
import grpc.aio
from girih.client import AsyncClient, Client
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub

def now(channel: grpc.Channel, client: Client) -> int:
    stub = EventStoreServiceStub(channel)
    for page in stub.Read(pb.ReadRequest(stream="s"), timeout=1):
        reveal_type(page)
    for event in client.read("s"):
        reveal_type(event)
    return stub.Append(pb.AppendRequest(), timeout=1)

async def later(channel: grpc.aio.Channel, client: AsyncClient) -> int:
    stub = EventStoreServiceStub(channel)
    async for page in stub.Read(pb.ReadRequest(stream="s"), timeout=1):
        reveal_type(page)
    async for event in client.read("s"):
        reveal_type(event)
    return await stub.Append(pb.ReadRequest(), timeout=1)
"""
SEEN = [
    'note: Revealed type is "girih.events.v1.events_pb2.ReadResponse"',
    'note: Revealed type is "girih.client.events.RecordedEvent"',
    'error: Incompatible return value type (got "AppendResponse", expected "int")  [return-value]',
    'note: Revealed type is "girih.events.v1.events_pb2.ReadResponse"',
    'note: Revealed type is "girih.client.events.RecordedEvent"',
    'error: Incompatible return value type (got "AppendResponse", expected "int")  [return-value]',
    (
        'error: Argument 1 to "__call__" of "UnaryUnaryMultiCallable" has incompatible type'
        ' "ReadRequest"; expected "AppendRequest"  [arg-type]'
    ),
]

CONTRACT = """
syntax = "proto3";
package workshop.v1;
import "girih/events/v1/events.proto";
message Delivery { girih.events.v1.Event event = 1; }
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cloned(tmp_path_factory.mktemp("clone") / "girih")


@pytest.fixture(scope="module")
def wheels(clone: Path) -> dict[str, Path]:
    return {
        name: built("wheel", clone / folder, clone.parent / "wheels")
        for name, folder in PROJECTS.items()
    }


@pytest.fixture(scope="module")
def light(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Only the light distribution, and the types that it names for type checkers."""
    return Environment.made(tmp_path_factory.mktemp("light"), [wheels["girih"]], extra="types")


@pytest.mark.parametrize("name", PROJECTS)
def test_a_commit_makes_the_same_bytes_also_from_its_source_distribution(
    wheels: dict[str, Path], name: str, tmp_path: Path
) -> None:
    other = cloned(tmp_path / "another-name")
    sdist = built("sdist", other / PROJECTS[name], tmp_path)
    wheel = built("wheel", unpacked(sdist, tmp_path / "unpacked"), tmp_path / "again")
    again = built(
        "sdist", wheels[name].parent.parent / "girih" / PROJECTS[name], tmp_path / "again"
    )

    assert wheel.read_bytes() == wheels[name].read_bytes()
    assert again.read_bytes() == sdist.read_bytes()


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_takes_one_name_and_carries_version_and_licence(
    wheels: dict[str, Path], name: str
) -> None:
    names = ZipFile(wheels[name]).namelist()
    about = f"{name}-{girih.__version__}.dist-info"

    assert {path.partition("/")[0] for path in names} == {name, about}
    assert f"{about}/licenses/LICENSE" in names
    assert [path for path in names if "node_modules" in path or "generate" in path] == []


def test_the_light_wheel_needs_grpc_and_protobuf_and_the_other_its_very_version(
    wheels: dict[str, Path],
) -> None:
    needed = {name: [Requirement(text) for text in requirements(wheels[name])] for name in wheels}

    assert {one.name for one in needed["girih"] if one.marker is None} == LIGHT
    assert f"girih=={girih.__version__}" in map(str, needed["girih_server"])
    assert "grpcio-tools" not in {one.name for one in needed["girih_server"]}


def test_the_stubs_run_with_the_least_that_the_wheel_asks_for(wheels: dict[str, Path]) -> None:
    with ZipFile(wheels["girih"]) as archive:
        messages, stubs = (
            archive.read(f"girih/events/v1/events_{kind}.py").decode()
            for kind in ("pb2", "pb2_grpc")
        )
    generated_for = {
        "protobuf": re.search(r"# Protobuf Python Version: (\S+)", messages),
        "grpcio": re.search(r"GRPC_GENERATED_VERSION = '(\S+)'", stubs),
    }
    asked_for = {one.name: one for one in map(Requirement, requirements(wheels["girih"]))}

    for name, match in generated_for.items():
        assert match is not None
        assert f">={match[1]}" in str(asked_for[name].specifier).split(","), name


def test_the_client_imports_nothing_of_the_servers(light: Environment) -> None:
    code = (
        "import sys, girih.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = light.run([str(light.python), "-c", code])

    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert {"girih", "grpc", "google"} <= imported
    assert (
        imported & {"cli", "gateway", "services", "grpc_tools", "numba", "numpy", "pydantic"}
        == set()
    )


def test_rpcs_have_types_for_both_kinds_of_channel(light: Environment, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(TYPED)

    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary"),
            *("--python-executable", str(light.python), "program.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == SEEN, done.stderr


def test_contracts_of_others_import_ours(light: Environment, tmp_path: Path) -> None:
    (tmp_path / "workshop.proto").write_text(CONTRACT)
    where = light.run([str(light.python), "-c", "import girih; print(girih.PROTO_PATH)"])

    done = subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", f"-I{where.stdout.strip()}", "-I."),
            *("--python_out=.", "workshop.proto"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
