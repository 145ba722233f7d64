"""Stubs fit the protos whatever happened to either."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHOW = (
    "from girih.ops.v1 import ops_pb2; print(*ops_pb2.GetMetricsRequest.DESCRIPTOR.fields_by_name)"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The contract and the package as a fresh clone has them: without stubs."""
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    (tmp_path / "girih").mkdir()
    for source in (ROOT / "girih").glob("*.py"):
        shutil.copy(source, tmp_path / "girih")
    return tmp_path


def run(checkout: Path, code: str = SHOW) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False
    )


def ops_proto(checkout: Path) -> Path:
    return checkout / "protos/girih/ops/v1/ops.proto"


def test_missing_stubs_are_made_by_importing_them(checkout: Path) -> None:
    assert run(checkout).stdout.split() == ["name_prefix"]


def test_their_types_and_their_contract_lie_beside_the_stubs(checkout: Path) -> None:
    run(checkout)

    made = sorted(file.name for file in (checkout / "girih/ops/v1").glob("ops*"))
    assert made == ["ops.proto", "ops_pb2.py", "ops_pb2.pyi", "ops_pb2_grpc.py", "ops_pb2_grpc.pyi"]


def test_a_changed_proto_changes_the_stubs(checkout: Path) -> None:
    run(checkout)
    text = ops_proto(checkout).read_text()
    ops_proto(checkout).write_text(text.replace("string name_prefix = 1", "string start = 1"))

    assert run(checkout).stdout.split() == ["start"]


def test_a_removed_proto_takes_its_stubs_with_it(checkout: Path) -> None:
    spare = checkout / "protos/girih/spare/v1/spare.proto"
    spare.parent.mkdir(parents=True)
    spare.write_text('syntax = "proto3";\npackage girih.spare.v1;\nmessage Spare {}\n')
    run(checkout)
    assert (checkout / "girih/spare").is_dir()
    shutil.rmtree(checkout / "protos/girih/spare")

    run(checkout, "import girih")

    assert not (checkout / "girih/spare").exists()


def test_the_protos_of_somebody_else_change_nothing(checkout: Path) -> None:
    run(checkout)
    shutil.rmtree(checkout / "protos")
    (checkout / "protos").mkdir()
    (checkout / "protos/other.proto").write_text("syntax = 'proto3'; package other;")

    assert run(checkout).stdout.split() == ["name_prefix"]


def test_a_broken_proto_stops_every_import_and_says_where(checkout: Path) -> None:
    run(checkout)
    ops_proto(checkout).write_text("syntax = 'proto3'; message {")

    assert "girih/ops/v1/ops.proto:1" in run(checkout).stderr


def test_processes_that_start_together_generate_once(checkout: Path) -> None:
    code = "from girih import generate; import girih.events.v1.events_pb2"
    children = [
        subprocess.Popen([sys.executable, "-c", code], cwd=checkout, stderr=subprocess.PIPE)
        for _ in range(4)
    ]

    errors = [child.communicate(timeout=60)[1] for child in children]

    assert errors == [b""] * 4
