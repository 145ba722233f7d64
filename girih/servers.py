"""Which girih is meant: by its URL, by a profile, or by the folder that `girih up` runs in.

Opens no connection. A `girih up` that has stopped is never taken for whoever listens now where it
did: a password or a token would go to a stranger.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from girih.credentials import Credential

DATA_DIR = ".girih"
LOCK = "lock"
STATE = "state.json"
DEFAULT_ADDRESS = "127.0.0.1:8000"


class NotRunning(Exception):
    """The `girih up` that is meant does not run, or not yet."""


class NoServer(Exception):
    """Nothing says which server is meant."""


class NoProfile(NoServer):
    """Nobody is logged in under the name."""


class NoUrl(ValueError):
    """What should be the URL of a gateway is none."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A girih: its gateway, and what else is known of it."""

    url: str
    data_dir: Path | None = None
    """Of the `girih up` that serves it; None for a server that is known by its URL alone."""
    events_address: str = ""
    """Where events serves gRPC, as host:port; empty where that is not known."""
    lattice_address: str = ""
    profile: str = ""
    """The profile that was chosen, in whose session calls are made; empty for the last one at
    this server."""
    is_last: bool = False
    """Nothing was said: it is the one that somebody logged in to last."""
    is_ready: bool = True
    """Everything of a `girih up` has been healthy; it may be starting otherwise."""

    def holds(self, session: Credential) -> bool:
        """Whether a session was opened at this very server."""
        if self.data_dir is not None:
            return session.data_dir == str(self.data_dir)
        return not session.data_dir and session.url == self.url

    def profile_in(self, sessions: Mapping[str, Credential]) -> str | None:
        """The name of the session that calls of this server are made in, None without one."""
        if self.profile:
            return self.profile if self.profile in sessions else None
        return next((name for name in reversed(list(sessions)) if self.holds(sessions[name])), None)


def chosen(
    named: str | None,
    environ: Mapping[str, str],
    folder: Path,
    sessions: Mapping[str, Credential],
) -> Server:
    """The server that `named` says, a URL or a profile, or else the first of: GIRIH_URL,
    GIRIH_PROFILE, GATEWAY_ADDRESS, GIRIH_DATA, the `girih up` of `folder` or the nearest folder
    above it, and the last login.

    Raises NotRunning, NoServer, NoProfile and NoUrl.
    """
    data_dir = data_dir_of(environ, folder)
    if named := named or environ.get("GIRIH_URL") or environ.get("GIRIH_PROFILE"):
        if "://" in named:
            return _at_url(checked_url(named), data_dir, sessions)
        return of_profile(named, sessions)
    if environ.get("GATEWAY_ADDRESS"):
        return _at_url(url_of_gateway(environ), data_dir, sessions)
    if data_dir is not None:
        return of_folder(data_dir)
    if sessions:
        return replace(of_profile(list(sessions)[-1], sessions), is_last=True)
    raise NoServer("no girih is known here: `girih up` starts one, --url names one elsewhere")


def data_dir_of(environ: Mapping[str, str], folder: Path) -> Path | None:
    """GIRIH_DATA, or the data directory of `folder` or of the nearest folder above it.

    Only one that belongs to this user: what others put above it would lead to their server.
    """
    if named := environ.get("GIRIH_DATA"):
        return (folder / named).resolve()
    places = (place / DATA_DIR for place in (folder, *folder.parents))
    return next((place.resolve() for place in places if _is_own(place)), None)


def _is_own(data_dir: Path) -> bool:
    try:
        return (data_dir / LOCK).stat().st_uid == data_dir.stat().st_uid == os.geteuid()
    except OSError:
        return False


def of_folder(data_dir: Path) -> Server:
    """The `girih up` that runs on a data directory. Raises NotRunning."""
    server = running(data_dir)
    if server is None:
        raise NotRunning(f"girih is not running here ({data_dir}); start it: girih up")
    return _started(server)


def _started(server: Server) -> Server:
    if not server.is_ready:
        message = f"girih is still starting on {server.data_dir}"
        raise NotRunning(f"{message}; try again in a moment, or look: girih status")
    return server


def of_profile(name: str, sessions: Mapping[str, Credential]) -> Server:
    """Where the session of a profile was opened. Raises NoProfile and NotRunning."""
    session = sessions.get(name)
    if session is None:
        known = f"; there are {', '.join(sessions)}" if sessions else ""
        raise NoProfile(f"there is no profile {name!r}{known}")
    if not session.data_dir:
        return Server(url=session.url, profile=name)
    server = running(Path(session.data_dir))
    if server is None:
        message = f"girih is not running on {session.data_dir} (profile {name}); start it: girih up"
        raise NotRunning(f"{message} --data {session.data_dir}")
    return replace(_started(server), profile=name)


def running(data_dir: Path) -> Server | None:
    """The `girih up` that runs on a data directory; None when none does."""
    if not is_up(data_dir):
        return None
    try:
        state = json.loads((data_dir / STATE).read_text())
        environ = state["environ"]
        return Server(
            url=url_of_gateway(environ),
            data_dir=data_dir.resolve(),
            events_address=reachable(environ["EVENTS_ADDRESS"]),
            lattice_address=reachable(environ["LATTICE_ADDRESS"]),
            is_ready=state.get("is_ready") is True,
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None  # it begins or ends at this moment


def is_up(data_dir: Path) -> bool:
    """Whether a `girih up` holds the data directory. The kernel knows, also after kill -9."""
    try:
        handle = os.open(data_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _at_url(url: str, data_dir: Path | None, sessions: Mapping[str, Credential]) -> Server:
    """The server at a URL: a `girih up` that is known and runs there, or somebody else's."""
    for place in _known(data_dir, sessions.values()):
        server = running(place)
        if server is not None and server.url == url:
            return server
    return Server(url=url)


def _known(data_dir: Path | None, sessions: Iterable[Credential]) -> Iterable[Path]:
    if data_dir is not None:
        yield data_dir
    yield from {Path(session.data_dir) for session in sessions if session.data_dir}


_plain = re.compile(r"[^\x00-\x20\x7f-\U0010ffff?#\\]+").fullmatch
"""Without what some parsers drop, and others call another host for."""


def checked_url(url: str) -> str:
    """The URL of a gateway, without a slash at its end. Raises NoUrl."""
    try:
        parts = urlsplit(url)
        is_well = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_well = False
    if not is_well or not _plain(url) or "@" in parts.netloc:
        raise NoUrl(f"{url!r} must be the URL of a gateway, such as https://girih.example")
    return url.rstrip("/")


def url_of_gateway(environ: Mapping[str, str]) -> str:
    """Where the gateway of these settings is called."""
    scheme = "https" if environ.get("GATEWAY_HTTP_TRANSPORT") == "tls" else "http"
    return f"{scheme}://{reachable(environ.get('GATEWAY_ADDRESS') or DEFAULT_ADDRESS)}"


def reachable(address: str) -> str:
    """Where to call who listens on host:port: one cannot call every interface at once."""
    host, _, port = address.rpartition(":")
    own = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}  # noqa: S104 - this listens nowhere
    return f"{own.get(host, host)}:{port}"
