"""All pages of the documentation, followed in one girih: what is run of them, and what is not."""

import json
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from docs.site.sources import Sources
from tests.docs import pages
from tests.installations import Installation, running
from tests.processes import ROOT

FIRST: Final = "README.md"
"""Where Ada registers, whom the other pages know."""

NOT_RUN: Final[Mapping[str, str]] = {
    "make up": "is `girih up`, which all commands here run on",
    "make test": "runs the tests of which this is one",
    "make check": "is what continuous integration runs beside the tests",
    ".venv/bin/girih register": "is the command of a checkout; the one below it is run",
    ". .venv/bin/activate": "is for a checkout: `girih` is on the PATH here",
    "git clone": "has no address to clone from yet",
    "cd girih": "goes into what was cloned",
    "uvx": "needs an index of packages; tests/distributions installs the wheels",
    "pipx": "needs an index of packages; tests/distributions installs the wheels",
    "pip install": "needs an index of packages; tests/distributions installs the wheels",
    "python -m bench.load": "measures for minutes; tests/e2e/test_load.py is a short form",
    "make wheels": "builds for a minute; `tests.acceptance.wheels` does it three times",
    "girih logs place": "needs a second database; tests/events/places have one",
    "girih logs move": "needs a second database; tests/events/places have one",
    "girih up": "is what all commands here run on; `tests.chaos restore` starts what was restored",
    "girih backup restore /backups/girih --into /var/lib/girih-new --at": "needs a backup of that"
    " very day; `tests.chaos restore` restores moments",
    "podman": "needs containers; tests/deploy checks what they are told",
    "debootstrap": "is for root, and loads a system",
    "tar -C base": "is for what debootstrap has made",
    "make image": "builds for minutes, with containers",
    "psql": "needs a database with an owner; tests/postgres_roles does it",
    "kubectl": "needs a cluster; tests/deploy checks the objects",
    "helm": "needs a cluster; tests/deploy checks the objects",
    "systemd-sysusers": "needs systemd, as root; tests/deploy checks the units",
    "systemctl": "needs systemd, as root; tests/deploy checks the units",
    "chown": "needs systemd's users, as root",
    "chmod": "changes files of /etc",
    "DATABASE_URL_FILE=": "changes a database of production; tests/cli/test_migrating.py migrates",
}
"""Why commands that begin like this are not run here. Of several that fit the longest counts."""

ENDLESS: Final = ("girih events tail", "girih backup archive")
"""Commands that go on until they are stopped: they are, once they have run for some seconds."""

_HEAD: Final = """\
curl() { command curl --fail-with-body "$@"; }
stopped() {
  local code=0
  timeout --signal INT 8 "$@" || code=$?
  test $code -eq 124 -o $code -eq 130
}
"""
_COMMAND: Final = '#!/bin/sh\nPYTHONPATH={root} exec {python} -m cli "$@"\n'


def reason_not_to_run(text: str) -> str:
    """Empty for a command that is run."""
    fitting = [one for one in NOT_RUN if text.startswith(one)]
    return NOT_RUN[max(fitting, key=len)] if fitting else ""


def all_pages() -> list[str]:
    """Those with commands, by their path, the first one first."""
    written = [FIRST, *Sources().written()]
    return [page for page in written if pages.commands(page)]


@dataclass(frozen=True)
class Reader:
    """Somebody who does what pages say, in a folder of their own for each."""

    folder: Path
    environ: Mapping[str, str]
    replaced: Mapping[str, str]
    """What stands on pages for what is so here: an address, a folder, a tenant."""

    def follow(self, page: str) -> int:
        """How many commands were run. Raises AssertionError for what is not as a page says."""
        folder = self.folder / page.replace("/", "-")
        folder.mkdir(parents=True)
        (folder / "begin").write_text(_HEAD, encoding="utf-8")
        environ = {**self.environ, "BASH_ENV": str(folder / "begin")}
        return pages.followed(page, folder, environ, as_run=self._as_run, timeout_s=300)

    def _as_run(self, text: str) -> str:
        if reason_not_to_run(text):
            return ""
        for shown, here in self.replaced.items():
            text = text.replace(shown, here)
        return f"stopped {text}" if text.startswith(ENDLESS) else text


def read(asked: list[str], folder: Path) -> Iterator[tuple[str, int]]:
    """Follow pages, the first one before all others: each with how many commands were run."""
    installation = Installation.made(folder / "data")
    installation.environ["GIRIH_LOG_FORMAT"] = "json"  # as in production
    commands = folder / "bin"
    commands.mkdir(parents=True)
    (commands / "girih").write_text(_COMMAND.format(root=ROOT, python=sys.executable))
    (commands / "girih").chmod(0o755)
    path = f"{commands}:{Path(sys.executable).parent}:{installation.environ['PATH']}"
    environ = {
        **installation.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "GIRIH_PASSWORD": "test123",
    }
    with running(installation):
        reader = Reader(
            folder, environ, {"localhost:8000": installation.environ["GATEWAY_ADDRESS"]}
        )
        yield FIRST, reader.follow(FIRST)
        places = _places(installation, folder)
        for page in asked:
            if page != FIRST:
                # A token lives for minutes, and so does a page.
                reader = Reader(folder, {**environ, "TOKEN": _token(installation)}, places)
                yield page, reader.follow(page)


def _places(installation: Installation, folder: Path) -> dict[str, str]:
    who = json.loads(installation.run("whoami", "-o", "json").stdout)
    return {
        "localhost:8000": installation.environ["GATEWAY_ADDRESS"],
        "/backups/girih": str(folder / "backups"),
        "/var/lib/girih-new": str(folder / "restored"),
        "/var/log/girih/*.log": f"{installation.data_dir}/logs/{{events,gateway}}.log",
        "--tenant TENANT": f"--tenant {who['tenant']['tenantId']}",
        "--tenant OTHER": f"--tenant {uuid.uuid4()}",
    }


def _token(installation: Installation) -> str:
    import httpx

    body = {"email": "ada@girih.test", "password": "test123"}
    answer = httpx.post(f"{installation.url}/auth/login", json=body, timeout=30).raise_for_status()
    return str(answer.json()["access_token"])
