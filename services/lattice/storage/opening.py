"""Which store a setting means."""

from collections.abc import Mapping
from pathlib import Path

from services.lattice.storage.folder import FolderStore
from services.lattice.storage.objects import ObjectStore
from services.lattice.storage.remote import RemoteStore
from services.plumbing.errors import CannotRun


class NoObjectStores(CannotRun):
    """The package that speaks to object stores is not installed."""

    exit_code = 78


def user_folder(environ: Mapping[str, str]) -> str:
    """The folder for arrays in the data directory of the user who runs this."""
    data = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(data) / "girih" / "arrays")


def absolute(location: str) -> str:
    """The same place for processes that run in another folder."""
    return location if "://" in location else str(Path(location).expanduser().absolute())


def open_store(location: str) -> ObjectStore:
    """The store at a path of this machine, or behind a URL such as `s3://bucket/prefix`."""
    if "://" not in location:
        return FolderStore(Path(absolute(location)))
    try:
        return RemoteStore(location)
    except ImportError:
        raise NoObjectStores("for a URL in LATTICE_STORAGE install the package `obstore`") from None
