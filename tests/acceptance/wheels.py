"""A release, tried: built twice as `make wheels` builds it, installed from an index, and used.

    python -m tests.acceptance.wheels

Each commit must make the same bytes, isolated or not. Then it does what the README's "Install"
says, word by word, with an empty home (`uvx` and `pipx` where they are on the PATH), and follows
the README's first five minutes with kernels that nobody has compiled before, and has a program with
the light distribution append, follow, consume and ask for a path. Takes some minutes,
most of them for what the index sends. Exits 1 when something is not as it is told.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping
from pathlib import Path

from tests.distributions import first_minutes, worker
from tests.distributions.building import PROJECTS, Environment, built, cloned
from tests.processes import free_port

OF_INSTALLERS = ("PIP_", "UV_", "SSL_", "REQUESTS_", "HTTP_", "HTTPS_", "NO_PROXY")
"""How this machine reaches an index."""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="girih-wheels-") as temporary:
        folder = Path(temporary)
        dist = _made_wheels(folder / "one")
        again = _made_wheels(folder / "other")
        bare = folder / "bare"
        for project in PROJECTS.values():
            built("wheel", folder / "one" / project, bare)
            built("sdist", folder / "one" / project, bare)
        names = sorted(file.name for file in dist.iterdir())
        for other in (again, bare):
            if [name for name in names if not _are_same(dist / name, other / name)]:
                print(f"{dist} and {other} differ", file=sys.stderr)
                return 1
        print(f"the same bytes three times: {', '.join(names)}")

        failures = [line for line in first_minutes.commands("Install") if not _works(line, dist)]
        if not _serves(folder / "server", dist):
            failures.append("girih up")
    print(f"failed: {failures}" if failures else "all is as it is told")
    return 1 if failures else 0


def _made_wheels(folder: Path) -> Path:
    """Where `make wheels` puts them, in a clone."""
    started_s = time.monotonic()
    cloned(folder)
    _run(["make", "--silent", "wheels", f"BIN={Path(sys.executable).parent}"], folder, {})
    print(f"make wheels took {time.monotonic() - started_s:.0f} s")
    return folder / "dist"


def _are_same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _works(line: str, dist: Path) -> bool:
    """Whether a line of the README's "Install" does, with an empty home."""
    program = line.split(maxsplit=1)[0]
    if program != "pip" and shutil.which(program) is None:
        print(f"skipped, since there is no {program}: {line}")
        return True
    with tempfile.TemporaryDirectory(prefix="girih-home-") as temporary:
        environment = Environment(Path(temporary) / "environment", Path(temporary) / "home")
        environment.home.mkdir()
        (environment.home / "dist").symlink_to(dist)
        venv.create(environment.folder, with_pip=True)
        started_s = time.monotonic()
        # What would serve until Ctrl-C says how long it took to be ready instead.
        script = line + (" --exit-when-ready" if line.endswith(" up") else "")
        script = script.replace("<this repository>", f"file://localhost{dist.parent}")
        done = _run(["bash", "-c", script], environment.home, environment.environ | _ports())
        print(f"{time.monotonic() - started_s:.0f} s, {_size_mib(Path(temporary))} MiB: {line}")
        return done


def _serves(folder: Path, dist: Path) -> bool:
    """Whether the first five minutes are as they are told, compiled and from an index."""
    environment = Environment(folder / "environment", folder / "home")
    environment.home.mkdir(parents=True)
    venv.create(environment.folder, with_pip=True)
    pip = [str(environment.python), "-m", "pip", "install", "--quiet"]
    if not _run([*pip, "--find-links", str(dist), "girih-server"], folder, environment.environ):
        return False
    print(f"an environment with girih-server is {_size_mib(environment.folder)} MiB")
    started_s = time.monotonic()
    with first_minutes.running(environment):
        print(f"ready after {time.monotonic() - started_s:.0f} s, with all kernels to compile")
        first_minutes.followed(environment)
        return _works_for(environment, folder / "light", dist)


def _works_for(server: Environment, folder: Path, dist: Path) -> bool:
    """Whether a program with the light distribution, from an index, does what a worker does."""
    light = Environment(folder / "environment", folder / "home")
    light.home.mkdir(parents=True)
    venv.create(light.folder, with_pip=True)
    pip = [str(light.python), "-m", "pip", "install", "--quiet"]
    if not _run([*pip, "--find-links", str(dist), "girih[lattice]"], folder, light.environ):
        return False
    output = worker.worked(light, server)
    print(f"a program with girih[lattice], {_size_mib(light.folder)} MiB: {output.strip()}")
    return output == worker.OUTPUT


def _run(command: list[str], folder: Path, environ: Mapping[str, str]) -> bool:
    ours = {name: value for name, value in os.environ.items() if name.startswith(OF_INSTALLERS)}
    path = os.pathsep.join(filter(None, (environ.get("PATH"), os.environ["PATH"])))
    done = subprocess.run(
        command,
        cwd=folder,
        env={"HOME": str(folder), **ours, **environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
    return done.returncode == 0


def _ports() -> dict[str, str]:
    names = ("EVENTS", "LATTICE", "GATEWAY")
    ports = {f"{name}_ADDRESS": f"127.0.0.1:{free_port()}" for name in names}
    return ports | {f"{name}_METRICS_PORT": str(free_port()) for name in names}


def _size_mib(folder: Path) -> int:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) // 2**20


if __name__ == "__main__":
    sys.exit(main())
