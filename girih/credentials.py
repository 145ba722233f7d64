"""Who is logged in where, in a file that its owner alone can read: what `girih login` keeps.

Knows nothing of the network. Programs that run at once take turns under a lock, because a
refresh token works once. Only the standard library, since every command starts with it.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

_LOCK_TIMEOUT_S = 60.0
_POLL_S = 0.02
_OTHERS = 0o077


class Unusable(Exception):
    """The file cannot be read or written; the message says why, and what to do."""


class Busy(Unusable):
    """Another program holds the file for too long. The same may succeed later."""


@dataclass(frozen=True, kw_only=True)
class Credential:
    """An open session at one server, and for no other."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at_s: float
    """When the access token expires: seconds since 1970 by the clock of this machine."""
    email: str = ""
    tenant_id: str = ""
    tenant_name: str = ""
    url: str = ""
    """Where REST was served when the session was opened."""
    data_dir: str = ""
    """The data directory of the `girih up` that served it, wherever it listens next; empty for a
    server that is known by its URL alone."""

    def __post_init__(self) -> None:
        texts = (value for name, value in vars(self).items() if name != "expires_at_s")
        if not isinstance(self.expires_at_s, int | float) or not all(
            isinstance(text, str) for text in texts
        ):
            raise TypeError("a session must be texts, and a time at which it expires")
        if not is_sendable(self.access_token):
            raise ValueError("access_token must be printable ASCII without spaces")

    def is_fresh(self, margin_s: float) -> bool:
        return time.time() + margin_s < self.expires_at_s


def is_sendable(secret: str) -> bool:
    """Whether a header can carry it."""
    return secret.isascii() and secret.isprintable() and " " not in secret


def default_path(environ: Mapping[str, str]) -> Path:
    """`GIRIH_CREDENTIALS`, or a file in the user's folder for configuration."""
    if named := environ.get("GIRIH_CREDENTIALS"):
        return Path(named)
    try:
        config = environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError as error:
        raise Unusable("there is no home directory; set GIRIH_CREDENTIALS to a file") from error
    return Path(config) / "girih" / "credentials.json"


class CredentialsFile:
    """The sessions by the name of their profile, which is the URL where it has no other. They
    stand in the order in which somebody logged in: the last is the last."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Credential]:
        """Raises Unusable."""
        return self._read()

    @contextmanager
    def locked(self) -> Iterator[dict[str, Credential]]:
        """The sessions, to be changed in place: written when the block ends, whole or not at
        all. Nobody else writes meanwhile. Raises Unusable and Busy."""
        with self._lock():
            sessions = self._read()
            before = list(sessions.items())
            try:
                yield sessions
            finally:
                if list(sessions.items()) != before:
                    self._write(sessions)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _unusable(self.path, error) from error
        try:
            _wait_for(handle, self.path)
            yield
        finally:
            os.close(handle)

    def _read(self) -> dict[str, Credential]:
        try:
            with self.path.open() as file:
                _refuse_open_mode(self.path, os.fstat(file.fileno()).st_mode)
                document = json.load(file)
            return {
                # A session of before there were profiles is at the URL that names it.
                name: Credential(**{"url": name, **fields})
                for name, fields in document["sessions"].items()
            }
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _unusable(self.path, error) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise Unusable(f"{self.path} cannot be read; remove it and log in again") from error

    def _write(self, sessions: Mapping[str, Credential]) -> None:
        new = self.path.with_name(f"{self.path.name}.new")
        document = {"sessions": {name: asdict(one) for name, one in sessions.items()}}
        try:
            new.unlink(missing_ok=True)
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w") as file:  # noqa: PTH123 - a handle has no path
                json.dump(document, file, indent=2)
                file.flush()
                # A refresh token that is lost cannot be asked for again.
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise _unusable(self.path, error) from error


def _wait_for(handle: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Busy(f"another command holds {path}.lock for too long") from error
            time.sleep(_POLL_S)
        else:
            return


def _refuse_open_mode(path: Path, mode: int) -> None:
    if mode & _OTHERS:
        message = f"{path} can be read by others; chmod 600 it, or remove it and log in again"
        raise Unusable(message)


def _unusable(path: Path, error: OSError) -> Unusable:
    reason = (error.strerror or str(error)).lower()
    return Unusable(f"{path} cannot be used: {reason}; name another with GIRIH_CREDENTIALS")
