"""Runs the programs of PostgreSQL that back it up. Knows neither schema nor what a backup is."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli import exit_codes
from cli.failure import Failed
from cli.local import process
from cli.local.postgres import Binaries, PostgresError, find_binaries
from cli.local.process import Child

_ENVIRONMENT = {"LC_ALL": "C", "LANG": "C"}


class Tools:
    """The programs of one PostgreSQL, whose server must not be of a later major version."""

    def __init__(self, environ: Mapping[str, str], major: int | None = None) -> None:
        """Raises Failed when there is none."""
        try:
            self.binaries: Binaries = find_binaries(environ, major)
        except PostgresError as error:
            raise Failed(str(error), exit_codes.CONFIG) from error
        # What libpq reads, such as PGPASSFILE, stays as it is.
        self._environ = {**environ, **_ENVIRONMENT}

    def run(self, name: str, *arguments: str, timeout_s: float | None = None) -> str:
        """Run one to its end; answers what it printed. Raises Failed with what it complained of."""
        try:
            done = subprocess.run(
                self.command(name, *arguments),
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except OSError as error:
            raise Failed(f"{name} cannot be run: {error}", exit_codes.CONFIG) from error
        except subprocess.TimeoutExpired as error:
            message = f"{name} took longer than {timeout_s:g} s"
            raise Failed(message, exit_codes.UNAVAILABLE) from error
        if done.returncode:
            complaint = done.stderr.strip() or f"it ended with {done.returncode}"
            raise Failed(f"{name} failed: {complaint}", exit_codes.FAILED)
        return done.stdout.strip()

    def query(self, url: str, sql: str) -> str:
        """What psql prints of one statement, unaligned. Raises Failed."""
        options = ("-XqAt", "-v", "ON_ERROR_STOP=1")
        return self.run("psql", *options, "-d", url, "-c", sql, timeout_s=600)

    def begin(self, name: str, *arguments: str, directory: Path, log: Path) -> Child:
        """Start one that runs until it is ended, and that does not outlive this process."""
        with log.open("ab") as output:
            return process.spawn(
                self.command(name, *arguments),
                directory=directory,
                output=output,
                environ=self._environ,
            )

    def command(self, name: str, *arguments: str) -> Sequence[str]:
        return [self.binaries.path(name), *arguments]
