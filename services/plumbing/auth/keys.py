"""The keys that tokens are signed with, and those whose signatures count. Ed25519 only.

A private key is a PEM file that one issuer reads. The public ones of all issuers stand in
one JWKS file, the trust store, which every process reads; each says who may sign with it.
Both are read again when they change. Knows no tokens.
"""

import contextlib
import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.plumbing.auth.jose import json_object
from services.plumbing.base64url import from_base64url, to_base64url
from services.plumbing.errors import CannotRun
from services.plumbing.watched import Watched

_FILE_BYTES_MAX = 256 * 2**10
_KEY_COUNT_MAX = 100
_LOOK_INTERVAL_S = 1.0
"""Anybody can name a key that is not known."""
_MEMBERS = {"alg": "EdDSA", "crv": "Ed25519", "kty": "OKP", "use": "sig"}
_OWN_MEMBERS = frozenset({"iss", "kid", "x"})


class WrongKey(CannotRun):
    """A file of keys is missing, cannot be read, or holds what must not be used."""

    exit_code = 78


class SigningKey:
    """A private key. Its text shows which one it is, and never the key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.private = private
        self._public = private.public_key().public_bytes_raw()
        _refuse_known(private.private_bytes_raw(), self._public)
        self.kid = thumbprint(self._public)

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"

    @classmethod
    def generate(cls) -> Self:
        """A new key, from the system's source of randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path, *, private: bool = True) -> Self:
        """The key in a PEM file (PKCS8, not encrypted); raises `WrongKey` that names the file.

        `private` insists that nobody but the file's owner may read it.
        """
        with _naming(path):
            key = load_pem_private_key(_read(path, private=private), password=None)
            if not isinstance(key, Ed25519PrivateKey):
                raise WrongKey("must be an Ed25519 key")
            return cls(key)

    def save(self, path: Path) -> None:
        """Write the key in one step; only the file's owner may read it."""
        data = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_atomically(path, data, mode=0o600)

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature of `data`, 64 bytes (RFC 8032)."""
        return self.private.sign(data)

    def public_jwk(self, iss: str) -> dict[str, Any]:
        """The public half as the trust store holds it, for tokens that `iss` issues."""
        return {**_MEMBERS, "x": to_base64url(self._public), "kid": self.kid, "iss": iss}


class SigningKeyFile(Watched[SigningKey]):
    """An issuer's key, `current`; start `watch()` as a task to follow the file."""

    def __init__(self, path: Path, *, private: bool = True) -> None:
        super().__init__("signing key", [path], lambda: SigningKey.load(path, private=private))


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key, and whose signatures it may check until when."""

    kid: str
    issuer: str
    public: Ed25519PublicKey
    retire_at: float
    """Unix seconds; the key counts for nothing from then on."""


class TrustedKeys(Watched[Mapping[str, TrustedKey]]):
    """The trust store. Start `watch()` as a task to follow the file."""

    def __init__(self, path: Path) -> None:
        super().__init__("trusted keys", [path], lambda: read_trusted(path))
        self._look_at_s = 0.0

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises `WrongKey` that names the file."""
        return cls(path)

    def known(self, kid: str) -> TrustedKey | None:
        """The key of exactly this name, retired or not.

        For one that is not known the file is looked at, once a second at most: a process that is
        too busy to look by itself would refuse what is signed with a key that was just published.
        """
        key = self.current.get(kid)
        now_s = time.monotonic()
        if key is None and now_s >= self._look_at_s:
            self._look_at_s = now_s + _LOOK_INTERVAL_S
            if self.look_again():
                key = self.current.get(kid)
        return key

    def find(self, kid: str) -> TrustedKey | None:
        """The key of exactly this name, unless it has retired."""
        key = self.current.get(kid)
        return key if key is not None and time.time() < key.retire_at else None


def read_trusted(path: Path) -> dict[str, TrustedKey]:
    """All keys of a trust store; raises `WrongKey` that names the file."""
    with _naming(path):
        return _by_kid(read_jwks(path))


def read_jwks(path: Path) -> list[dict[str, Any]]:
    """The keys of a trust store as they stand there; raises `WrongKey`."""
    with _naming(path):
        jwks = json_object(_read(path)).get("keys")
        if not isinstance(jwks, list) or not 0 < len(jwks) <= _KEY_COUNT_MAX:
            raise WrongKey(f'must have "keys", a list of 1 to {_KEY_COUNT_MAX}')
        _by_kid(jwks)
        return jwks


def write_jwks(path: Path, jwks: Sequence[Mapping[str, Any]]) -> None:
    """Write a trust store in one step; anybody may read it."""
    _by_kid(jwks)
    text = json.dumps({"keys": jwks}, indent=2) + "\n"
    write_atomically(path, text.encode(), mode=0o644)


def write_atomically(path: Path, data: bytes, mode: int) -> None:
    """Readers see the old file or the new one, also after a power cut."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)  # noqa: PTH105 - `name` is text
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108
        raise
    _sync_directory(path.parent)


def thumbprint(public: bytes) -> str:
    """What a public key is called everywhere (RFC 7638)."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": to_base64url(public)}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return to_base64url(hashlib.sha256(text.encode()).digest())


def _by_kid(jwks: Iterable[Mapping[str, Any]]) -> dict[str, TrustedKey]:
    keys = [_trusted_key(number, jwk) for number, jwk in enumerate(jwks)]
    by_kid = {key.kid: key for key in keys}
    if len(by_kid) != len(keys):
        # One key for two issuers would let either sign in the other's name.
        raise WrongKey("must hold each key once")
    return by_kid


def _trusted_key(number: int, jwk: object) -> TrustedKey:
    try:
        return _parsed(jwk)
    except ValueError as error:
        raise WrongKey(f"keys[{number}] {error}") from None


def _parsed(jwk: object) -> TrustedKey:
    if not isinstance(jwk, dict) or jwk.keys() - {"retire_at"} != _MEMBERS.keys() | _OWN_MEMBERS:
        raise ValueError("must have alg, crv, iss, kid, kty, use, x and at most retire_at")
    if any(jwk[name] != value for name, value in _MEMBERS.items()):
        raise ValueError("must be an Ed25519 key for signatures")
    if not isinstance(jwk["iss"], str) or not jwk["iss"]:
        raise ValueError("must have the name of its issuer as iss")
    public = from_base64url(jwk["x"]) if isinstance(jwk["x"], str) else b""
    _refuse_weak(public)
    if jwk["kid"] != thumbprint(public):
        raise ValueError("must have its thumbprint as kid")
    key = Ed25519PublicKey.from_public_bytes(public)
    return TrustedKey(jwk["kid"], jwk["iss"], key, _retire_at(jwk))


def _retire_at(jwk: Mapping[str, Any]) -> float:
    moment = jwk.get("retire_at", float("inf"))
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise ValueError("must have unix seconds as retire_at")  # noqa: TRY004
    try:
        return float(moment)
    except OverflowError:
        raise ValueError("must have unix seconds as retire_at") from None


# The field of the curve, and the heights of its points of small order. Under a key that is
# one of those, some signatures fit any text.
_P = 2**255 - 19
_Y_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _P - 1, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8})

# The samples of RFC 8032 and RFC 8037: everybody has their private halves.
_PUBLISHED = frozenset(
    {
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    }
)
_DISTINCT_BYTES_MIN = 16  # random 32 bytes have fewer in one key of 10^16


def _refuse_weak(public: bytes) -> None:
    y = int.from_bytes(public, "little") % 2**255
    if len(public) != 32 or y >= _P:
        raise ValueError("must have the 32 bytes of a point as x")
    if y in _SMALL_ORDER:
        raise ValueError("must not be a weak key, under which anybody can sign")
    if public.hex() in _PUBLISHED:
        raise ValueError("must not be a sample key, with which anybody can sign")


def _refuse_known(seed: bytes, public: bytes) -> None:
    _refuse_weak(public)
    if len(set(seed)) < _DISTINCT_BYTES_MIN:
        raise ValueError("must be random")


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WrongKey(f"{path}: {error.strerror or error}") from None
    except UnsupportedAlgorithm:
        raise WrongKey(f"{path}: must be an Ed25519 key") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise WrongKey(f"{path}: {error}") from None
    except WrongKey as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise WrongKey(f"{path}: {error}") from None


def _read(path: Path, *, private: bool = False) -> bytes:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise WrongKey("must be a file")
        if private and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise WrongKey(f"must be open to its owner alone, not {stat.S_IMODE(mode):04o}")
        data = file.read(_FILE_BYTES_MAX + 1)
    if len(data) > _FILE_BYTES_MAX:
        raise WrongKey(f"must be at most {_FILE_BYTES_MAX:,} bytes")
    return data


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
