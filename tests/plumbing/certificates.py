"""Throw-away certificates for tests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """The files of one process, as its settings name them."""

    certificate: Path
    key: Path
    ca: Path

    @property
    def settings(self) -> dict[str, Any]:
        return {"tls_certificate": self.certificate, "tls_key": self.key, "tls_ca": self.ca}

    @property
    def environ(self) -> dict[str, str]:
        return {f"GIRIH_{name.upper()}": str(path) for name, path in self.settings.items()}


@dataclass(frozen=True)
class CertificateAuthority:
    """Vouches for processes on the loopback."""

    directory: Path
    private: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, directory: Path) -> Self:
        directory.mkdir()
        private = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"authority in {directory.name}")
        certificate = (
            _builder(name, name, private.public_key(), DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(private, hashes.SHA256())
        )
        (directory / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        return cls(directory, private, certificate)

    def issue(self, name: str, lives: timedelta = DAY, ca: Path | None = None) -> Identity:
        """A certificate for 127.0.0.1 and its key, written to files called `name`."""
        private = ec.generate_private_key(ec.SECP256R1())
        local = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        certificate = (
            _builder(_name(name), self.certificate.subject, private.public_key(), lives)
            .add_extension(local, critical=False)
            .sign(self.private, hashes.SHA256())
        )
        pem, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        pem.write_bytes(certificate.public_bytes(Encoding.PEM))
        key.touch(mode=0o600)
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return Identity(pem, key, ca or self.directory / "ca.pem")


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, lives: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + lives)
    )
