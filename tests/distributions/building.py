"""Distributions built from a clean clone, and environments that have nothing but them."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from tests.processes import ROOT

PROJECTS = {"girih": "girih", "girih_server": "."}
"""The folder of each distribution in a checkout, by the name that its files have."""

_SITE = Path(sysconfig.get_path("purelib"))


def cloned(target: Path) -> Path:
    """The last commit as a stranger gets it: without anything that git does not know."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    _run(["git", "clone", "--quiet", str(ROOT), str(target)], cwd=ROOT)
    return target


def built(kind: str, project: Path, target: Path) -> Path:
    """The `wheel` or the `sdist` of a project, by what builds in this environment."""
    target.mkdir(exist_ok=True)
    code = f"import sys, hatchling.build; print(hatchling.build.build_{kind}(sys.argv[1]))"
    output = _run([sys.executable, "-P", "-c", code, str(target)], cwd=project)
    return target / output.splitlines()[-1]


def unpacked(sdist: Path, target: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(target, filter="data")
    return target / sdist.name.removesuffix(".tar.gz")


def requirements(wheel: Path) -> list[str]:
    """What a wheel says that it needs, those of its extras too."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])


@dataclass(frozen=True)
class Environment:
    """A virtual environment outside of the repository, and somebody with an empty home."""

    folder: Path
    home: Path

    @classmethod
    def made(cls, folder: Path, wheels: Sequence[Path], extra: str = "") -> "Environment":
        """With the wheels, and with what they need of what is installed here, linked: no more
        than they say, and of a version that they take."""
        environment = cls(folder / "environment", folder / "home")
        environment.home.mkdir(parents=True)
        venv.create(environment.folder, symlinks=True)
        needed = [one for wheel in wheels for one in requirements(wheel)]
        ours = {wheel.name.partition("-")[0].replace("_", "-") for wheel in wheels}
        _link(_needed(needed, ours, extra), environment.site)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
        pip += [str(environment.python), "install", "--quiet", "--no-index", "--no-deps"]
        _run([*pip, *map(str, wheels)], cwd=folder)
        return environment

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages"))

    @property
    def environ(self) -> dict[str, str]:
        """No PYTHONPATH, and no setting of girih."""
        path = os.pathsep.join((str(self.folder / "bin"), os.defpath))
        return {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8"}

    def run(
        self,
        command: Sequence[str],
        environ: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.home,
            env={**self.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def _needed(stated: Iterable[str], ours: set[str], extra: str) -> list[Distribution]:
    """The distributions that are stated, and those that these state."""
    needed: dict[str, Distribution] = {}
    waiting = [(text, extra) for text in stated]
    while waiting:
        text, extra_of_it = waiting.pop()
        requirement = Requirement(text)
        is_for_here = not requirement.marker or requirement.marker.evaluate({"extra": extra_of_it})
        if requirement.name in ours or requirement.name in needed or not is_for_here:
            continue
        one = distribution(requirement.name)
        assert requirement.specifier.contains(one.version, prereleases=True), text
        needed[requirement.name] = one
        waiting += [(text, "") for text in one.requires or []]
    return list(needed.values())


def _link(distributions: Iterable[Distribution], site: Path) -> None:
    for one in distributions:
        for name in {file.parts[0] for file in one.files or []} - {"..", "__pycache__"}:
            link = site / name
            if not link.exists():  # namespaces are shared
                link.symlink_to(_SITE / name)


def _run(command: Sequence[str], cwd: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
