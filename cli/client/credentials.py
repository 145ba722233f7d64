"""The sessions that `girih login` keeps, with their failures as exit codes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cli import exit_codes
from cli.failure import Failed
from girih import credentials
from girih.credentials import Credential

__all__ = ["Credential", "CredentialsFile", "default_path"]


def default_path(environ: Mapping[str, str]) -> Path:
    """See `girih.credentials`. Raises Failed."""
    with _explained():
        return credentials.default_path(environ)


class CredentialsFile(credentials.CredentialsFile):
    """The same file. Raises Failed."""

    def read(self) -> dict[str, Credential]:
        with _explained():
            return super().read()

    @contextmanager
    def locked(self) -> Iterator[dict[str, Credential]]:
        with _explained(), super().locked() as sessions:
            yield sessions


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except credentials.Busy as error:
        raise Failed(str(error), exit_codes.TEMPFAIL) from error
    except credentials.Unusable as error:
        raise Failed(str(error), exit_codes.CONFIG) from error
