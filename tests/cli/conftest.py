"""A girih for the tests of this folder, and people who use it from the command line."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.local.postgres import DATABASE, EmbeddedPostgres
from tests import asking, forked
from tests.processes import PATIENT, System, running_system

PASSWORD = "a strapwork of stars"


@dataclass(frozen=True)
class Person:
    """Somebody at a terminal, with a file of credentials of their own."""

    email: str
    environ: dict[str, str]

    @property
    def credentials(self) -> Path:
        return Path(self.environ["GIRIH_CREDENTIALS"])

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "cli", *words]

    def girih(self, *words: str, stdin: str = "", **environ: str) -> "Done":
        """Run the command to its end, in a process that has its modules."""
        return self._done(lambda: forked.run(words, {**self.environ, **environ}, stdin=stdin))

    def does(self, *words: str, stdin: str = "", **environ: str) -> "Done":
        """The same, again where it is told to come back; and it must go well."""

        def run() -> "subprocess.CompletedProcess[str]":
            return forked.run(words, {**self.environ, **environ}, stdin=stdin)

        done = self._done(lambda: asking.done(run))
        assert done.code == 0, done
        return done

    def _done(self, run: Callable[[], "subprocess.CompletedProcess[str]"]) -> "Done":
        ended = run()
        done = Done(ended.returncode, ended.stdout, ended.stderr)
        assert "Traceback" not in done.err, done.err
        return done


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        import json

        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        import json

        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="package")
def system(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """Both services and the gateway, on a database of their own."""
    postgres.execute("CREATE DATABASE command")
    url = postgres.url.replace(f"/{DATABASE}?", "/command?")
    with running_system(url, tmp_path_factory.mktemp("command"), **PATIENT) as running:
        yield running
    postgres.execute("DROP DATABASE command WITH (FORCE)")


@pytest.fixture
def somebody(system: System, tmp_path: Path) -> Callable[[], Person]:
    """Makes people who have not registered."""

    def make() -> Person:
        name = f"p{secrets.token_hex(6)}"
        ours = {
            **system.authority.environ,
            "GIRIH_URL": system.url,
            "GIRIH_CREDENTIALS": str(tmp_path / name / "credentials.json"),
            "EVENTS_ADDRESS": system.events_address,
            "COLUMNS": "120",
        }
        return Person(f"{name}@girih.dev", {**os.environ, **ours})

    return make


@pytest.fixture
def ada(somebody: Callable[[], Person]) -> Person:
    """Somebody who has registered and is logged in."""
    person = somebody()
    person.does("register", person.email, "--password-stdin", stdin=f"{PASSWORD}\n")
    return person
