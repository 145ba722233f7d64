"""The image, Compose and the units are what the processes need, and allow no more."""

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.events.settings import DEFAULT_PLACE
from services.events.settings import Settings as EventsSettings
from tests.authority import Authority
from tests.deploy.settings import SETTINGS, check_environment

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
PROCESSES = list(SETTINGS)


def final_stage() -> str:
    return CONTAINERFILE.rpartition("\nFROM ")[2]


def test_the_image_runs_as_nobody_and_has_no_compiler() -> None:
    (user,) = re.findall(r"^USER (\S+)", final_stage(), re.MULTILINE)

    assert user == "10001:10001"
    assert not re.search(r"\b(gcc|g\+\+|build-essential|clang|make|git|curl)\b", final_stage())


def test_kernels_are_compiled_for_the_processor_that_they_are_loaded_for() -> None:
    for argument in ("CPU", "CPU_FEATURES"):
        arguments = re.findall(rf"^ARG {argument}=(.*)$", CONTAINERFILE, re.MULTILINE)
        assert len(arguments) == 2
        assert arguments[0] == arguments[1], (
            "what is compiled for another is compiled anew at each start"
        )


def test_the_build_has_what_it_copies() -> None:
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()

    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert ignored[1] == "*"
    assert [name for name in kept if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("process", PROCESSES)
def test_a_container_starts_with_what_it_is_told(process: str, authority: Authority) -> None:
    service = COMPOSE["services"][process]

    check_environment(process, service["environment"], authority)

    assert service["command"] == [f"girih-{process}"]


def test_no_container_of_ours_may_do_more_than_it_needs() -> None:
    for name, service in COMPOSE["services"].items():
        if name == "postgres":
            continue
        assert service["read_only"], name
        assert service["user"] == "10001:10001", name
        assert service["cap_drop"] == ["ALL"], name


def test_all_that_compose_names_is_there() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= services.keys(), name
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys(), name
        assert set(service["networks"]) <= COMPOSE["networks"].keys(), name
        for value in _environment(service).values():
            if str(value).startswith("/run/secrets/"):
                assert Path(value).name in service["secrets"], name
            if str(value).startswith("/run/keys/"):
                assert any(f":{value}:ro" in mount for mount in service["volumes"]), value
            if str(value).startswith("dns:///"):
                host = str(value).removeprefix("dns:///").partition(":")[0]
                assert set(service["networks"]) & set(services[host]["networks"]), name


def _environment(service: dict[str, Any]) -> dict[str, Any]:
    environment: dict[str, Any] = service.get("environment", {})
    return environment


def unit_of(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names as they stand
    parser.read(path)
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_that_is_installed(path: Path) -> None:
    command = unit_of(path)["Service"]["ExecStart"].split()[0]

    assert Path(command).name in SCRIPTS


@pytest.mark.parametrize("process", PROCESSES)
def test_a_unit_starts_a_process_with_what_it_is_told(process: str, authority: Authority) -> None:
    text = (DEPLOY / "systemd" / f"girih-{process}.service").read_text()
    assignments = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    environ = dict(line.split("=", 1) for line in assignments)
    for name in ("common.env", f"{process}.env"):
        file = DEPLOY / "systemd" / name
        lines = file.read_text().splitlines() if file.exists() else []
        environ |= dict(line.split("=", 1) for line in lines if line and line[0] != "#")

    for name, value in environ.items():
        environ[name] = value.replace("%C", "/var/cache").replace("%S", "/var/lib")
    check_environment(process, environ, authority)

    assert "RestartPreventExitStatus=78" in text, "wrong settings stay wrong"
    assert f"User=girih-{process}" in text


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_knows_all_that_a_unit_says(path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd here")

    done = subprocess.run(
        [analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )

    complaints = re.findall(r"^.*(?:unknown|invalid).*$", done.stderr, re.IGNORECASE | re.MULTILINE)
    assert complaints == []


def test_a_machine_without_a_file_of_places_has_none(authority: Authority) -> None:
    text = (DEPLOY / "systemd" / "girih-events.service").read_text()
    [default] = re.findall(r"^SetCredential=places:(.*)$", text, re.MULTILINE)
    file = authority.directory / "no-places"
    file.write_text(default.encode().decode("unicode_escape"))
    environ = {"DATABASE_URL": "postgresql:///girih", "EVENTS_PLACES_FILE": str(file)}

    settings = EventsSettings.from_environ(
        {"GIRIH_ENVIRONMENT": "development", **environ, **authority.environ}
    )

    assert list(settings.at_places()) == [DEFAULT_PLACE]
