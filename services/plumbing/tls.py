"""Certificates for gRPC between our processes. Knows no tokens: those say who calls.

Servers take new certificates when their files change. A channel keeps the ones it was
opened with.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import Certificate, load_pem_x509_certificates

from services.plumbing.errors import CannotRun
from services.plumbing.watched import Watched


class TransportSettings(Protocol):
    """What a process is told of the files it proves itself with. See `PeerSettings`."""

    @property
    def environment(self) -> str:
        """`production` refuses a key that others can read."""

    @property
    def transport(self) -> str:
        """`tls`, `mtls`, `mesh` or `plain`."""

    @property
    def encrypts(self) -> bool:
        """Whether this process itself encrypts what it sends to the others."""

    @property
    def tls_certificate(self) -> Path | None:
        """The process's certificate, then those between it and the authority (PEM)."""

    @property
    def tls_key(self) -> Path | None:
        """The key of that certificate (PEM)."""

    @property
    def tls_ca(self) -> Path | None:
        """The authorities whose certificates are believed (PEM)."""


class WrongCertificate(CannotRun):
    """A file of certificates or of their key is missing, or does not hold what it must."""

    exit_code = 78


@dataclass(frozen=True)
class Files:
    """What a process proves itself with, and checks others by; empty where it does not."""

    certificate: bytes = b""
    key: bytes = b""
    authorities: bytes = b""


class ServerFiles(Watched[Files]):
    """The files of a server, `current`; start `watch()` as a task to follow them."""

    def __init__(self, settings: TransportSettings) -> None:
        paths = [settings.tls_certificate, settings.tls_key, settings.tls_ca]
        named = [path for path in paths if path is not None]
        super().__init__("certificates", named, lambda: _read_files(settings))


def server_credentials(files: ServerFiles, *, asks_callers: bool) -> grpc.ServerCredentials:
    """For a server; `asks_callers` refuses those without a certificate of our authorities."""
    served = files.current

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal served
        if served is files.current:
            return None
        served = files.current
        return _configuration(served, asks_callers=asks_callers)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(served, asks_callers=asks_callers),
        changed,  # type: ignore[arg-type]  # None means no change, which the stubs do not know
        require_client_authentication=asks_callers,
    )


def channel_credentials(settings: TransportSettings) -> grpc.ChannelCredentials | None:
    """What `open_channel` takes as `tls`; None where the calls are not encrypted by us."""
    if not settings.encrypts:
        return None
    files = _read_files(settings)
    shown = settings.transport == "mtls"
    return grpc.ssl_channel_credentials(
        root_certificates=files.authorities or None,
        private_key=files.key if shown else None,
        certificate_chain=files.certificate if shown else None,
    )


def read_certificates(path: Path) -> bytes:
    """A file of certificates as it stands; raises `WrongCertificate` that names it."""
    with _naming(path):
        data = path.read_bytes()
        for certificate in load_pem_x509_certificates(data):
            _refuse_expired(certificate)
        return data


def read_key(path: Path, certificate: Path | None = None, *, private: bool = False) -> bytes:
    """A private key as it stands; raises `WrongCertificate` that names the file.

    It must be the key of the first of `certificate`, if that is given. `private` insists that
    nobody but the file's owner may read it.
    """
    with _naming(path):
        data = path.read_bytes()
        key = load_pem_private_key(data, password=None)
        if private and os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):  # noqa: PTH116
            raise ValueError("must be open to its owner alone")
        if certificate is not None:
            own = load_pem_x509_certificates(read_certificates(certificate))[0]
            if _spki(own.public_key()) != _spki(key.public_key()):
                raise ValueError(f"must be the key of {certificate}")
        return data


def _read_files(settings: TransportSettings) -> Files:
    certificate, key, authorities = settings.tls_certificate, settings.tls_key, settings.tls_ca
    private = settings.environment == "production"
    return Files(
        certificate=read_certificates(certificate) if certificate else b"",
        key=read_key(key, certificate, private=private) if key else b"",
        authorities=read_certificates(authorities) if authorities else b"",
    )


def _configuration(files: Files, *, asks_callers: bool) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(files.key, files.certificate)],
        root_certificates=files.authorities if asks_callers else None,
    )


def _refuse_expired(certificate: Certificate) -> None:
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise ValueError(f"must not have expired, as on {certificate.not_valid_after_utc:%Y-%m-%d}")


def _spki(public: object) -> bytes:
    encoded: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WrongCertificate(f"{path}: {error.strerror or error}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise WrongCertificate(f"{path}: {error}") from None
