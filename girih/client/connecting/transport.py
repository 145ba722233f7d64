"""How calls are kept from others: encrypted by default, unless they stay on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import grpc

if TYPE_CHECKING:
    import ssl

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class Transport:
    """What is trusted and shown. None of it is read before a connection needs it."""

    is_encrypted: bool | None = None
    """None: whatever leaves this machine."""
    ca_file: str | Path | None = None
    """Whom to trust (PEM). None: whom this machine trusts."""
    cert_file: str | Path | None = None
    """Who the client is, where a server asks for it (PEM), with `key_file`."""
    key_file: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file must be given together")
        if self.is_encrypted is False and (self.ca_file or self.cert_file):
            raise ValueError("tls must not be False beside ca_file or cert_file")

    @classmethod
    def chosen(
        cls,
        *,
        tls: bool | None,
        ca_file: str | Path | None,
        cert_file: str | Path | None,
        key_file: str | Path | None,
        environ: Mapping[str, str],
    ) -> "Transport":
        """What the arguments say; where they say nothing, what GIRIH_TRANSPORT and the variables
        beside it say, as for the processes of girih."""
        named = environ.get("GIRIH_TRANSPORT", "")
        if tls is not None or ca_file or cert_file or named not in ("tls", "mtls", "plain"):
            is_encrypted = True if ca_file or cert_file else None
            return cls(
                is_encrypted=is_encrypted if tls is None else tls,
                ca_file=ca_file,
                cert_file=cert_file,
                key_file=key_file,
            )
        if named == "plain":
            return cls(is_encrypted=False)
        shown = environ if named == "mtls" else {}
        return cls(
            is_encrypted=True,
            ca_file=environ.get("GIRIH_TLS_CA") or None,
            cert_file=shown.get("GIRIH_TLS_CERTIFICATE") or None,
            key_file=shown.get("GIRIH_TLS_KEY") or None,
        )

    def credentials(self, address: str) -> grpc.ChannelCredentials | None:
        """For a channel to `address` (host:port); None leaves it open to be read."""
        if not self._encrypts(host_of(address)):
            return None
        return grpc.ssl_channel_credentials(
            _authorities(self.ca_file), _read(self.key_file), _read(self.cert_file)
        )

    def check_url(self, url: str) -> None:
        """Raises ValueError where a secret would be sent for everybody to read."""
        parts = urlsplit(url)
        if parts.scheme != "https" and self._encrypts(parts.hostname or ""):
            message = f"{url} must be https://, or tls must be False, since keys are sent there"
            raise ValueError(message)

    def ssl_context(self) -> "ssl.SSLContext":
        """For HTTPS."""
        import ssl

        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def _encrypts(self, host: str) -> bool:
        return host not in LOOPBACK if self.is_encrypted is None else self.is_encrypted


def host_of(address: str) -> str:
    """The host of host:port, [host]:port or dns:///host:port."""
    return address.rpartition("/")[2].rpartition(":")[0].strip("[]")


def _authorities(file: str | Path | None) -> bytes | None:
    """Whom this machine trusts where none are named: gRPC comes with a list of its own, in which
    a company's authority is not."""
    if file is not None:
        return _read(file)
    import ssl

    return _read(ssl.get_default_verify_paths().cafile)


def _read(file: str | Path | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()
