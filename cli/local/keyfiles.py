"""Where the keys of a girih are, and how they come to be there: made once, never overwritten."""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli import exit_codes
from cli.failure import Failed
from services.plumbing.auth.keys import (
    SigningKey,
    WrongKey,
    read_jwks,
    write_atomically,
    write_jwks,
)
from services.policy import GATEWAY, LATTICE, PROJECTIONS

_SECRET_BYTES = 32

VARIABLES = {
    "GATEWAY_SIGNING_KEY": "gateway.pem",
    "LATTICE_SIGNING_KEY": "lattice.pem",
    "PROJECTIONS_SIGNING_KEY": "projections.pem",
    "GIRIH_TRUSTED_KEYS": "trusted.json",
    "GATEWAY_REFRESH_SECRET": "refresh.secret",
}
"""What tells a process where a file is, and what the file is called when we make it."""


@dataclass(frozen=True)
class KeyFiles:
    """The files of one girih, those that others keep and those in its data directory."""

    directory: Path
    paths: Mapping[str, Path]
    """By variable."""
    ours: frozenset[str]
    """The variables that the environment does not set."""

    @classmethod
    def of(cls, data_dir: Path, environ: Mapping[str, str]) -> "KeyFiles":
        directory = data_dir / "keys"
        ours = frozenset(name for name in VARIABLES if not environ.get(name))
        return cls(
            directory,
            {
                name: directory / file if name in ours else Path(environ[name])
                for name, file in VARIABLES.items()
            },
            ours,
        )

    @property
    def trusted(self) -> Path:
        return self.paths["GIRIH_TRUSTED_KEYS"]

    @property
    def private(self) -> dict[str, Path]:
        """The private key of each issuer."""
        return {
            GATEWAY: self.paths["GATEWAY_SIGNING_KEY"],
            LATTICE: self.paths["LATTICE_SIGNING_KEY"],
            PROJECTIONS: self.paths["PROJECTIONS_SIGNING_KEY"],
        }

    @property
    def environ(self) -> dict[str, str]:
        """What processes are told."""
        return {name: str(path) for name, path in self.paths.items()}

    @property
    def existing(self) -> dict[str, str]:
        """The files of ours that are there, by variable."""
        return {name: str(self.paths[name]) for name in self.ours if self.paths[name].exists()}

    def missing(self) -> list[str]:
        """The variables that are not set and whose files nobody has made."""
        return [name for name in VARIABLES if name in self.ours and not self.paths[name].exists()]

    def make_missing(self, *, also_named: bool = False) -> list[Path]:
        """Make what is missing, and answer what was made: where `also_named`, what the
        environment names as well.

        A store of ours trusts the keys that sign; one that is named trusts those made now.
        Raises Failed.
        """
        if not self.ours and not also_named:
            return []
        with changing(self.directory), explained():
            names = [name for name in VARIABLES if also_named or name in self.ours]
            made = [self.paths[name] for name in names if not self.paths[name].exists()]
            for path in made:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._make(path)
            if "GIRIH_TRUSTED_KEYS" in self.ours or made:
                self._trust_those_that_sign()
            return made

    def _make(self, path: Path) -> None:
        if path.suffix == ".pem":
            SigningKey.generate().save(path)
        elif path.suffix == ".secret":
            secret = secrets.token_hex(_SECRET_BYTES)
            write_atomically(path, f"{secret}\n".encode(), mode=0o600)

    def _trust_those_that_sign(self) -> None:
        jwks = read_jwks(self.trusted) if self.trusted.exists() else []
        trusted = {jwk["kid"] for jwk in jwks}
        signing = {issuer: SigningKey.load(path) for issuer, path in self.private.items()}
        new = [key.public_jwk(iss) for iss, key in signing.items() if key.kid not in trusted]
        if new:
            write_jwks(self.trusted, [*jwks, *new])


def for_up(data_dir: Path, environ: Mapping[str, str]) -> KeyFiles:
    """The files for `girih up`, which makes keys for development only. Raises Failed."""
    files = KeyFiles.of(data_dir, environ)
    missing = files.missing()
    if environ.get("GIRIH_ENVIRONMENT", "development") != "development" and missing:
        message = (
            f"keys are not made up in production: set {', '.join(missing)},"
            f"\nor make them in {files.directory} with `girih signing-keys create`"
        )
        raise Failed(message, exit_codes.CONFIG)
    files.make_missing()
    return files


@contextmanager
def changing(directory: Path) -> Iterator[None]:
    """Hold a directory of keys, made if need be, for one who changes it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"{directory} cannot be written: {(error.strerror or str(error)).lower()}"
        raise Failed(message, exit_codes.CONFIG) from error
    try:
        _take(handle, directory)
        yield
    finally:
        os.close(handle)


def _take(handle: int, directory: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = f"another command is changing the keys in {directory}"
        raise Failed(message, exit_codes.TEMPFAIL) from error


@contextmanager
def explained() -> Iterator[None]:
    """What is wrong with a file of keys as Failed."""
    try:
        yield
    except WrongKey as error:
        raise Failed(str(error), exit_codes.CONFIG) from error
    except OSError as error:
        message = f"{error.filename}: {(error.strerror or str(error)).lower()}"
        raise Failed(message, exit_codes.CONFIG) from error
