"""The secrets that we hand out: refresh tokens, API keys and invitations. Knows no state.

Each names in clear what it belongs to, so that it is match without an index, and is
stored as a hash. Keys and invitations end in a checksum: those who search files for
leaked secrets know one when they see it, and one mistyped is refused without a look.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self
from uuid import UUID

from services.plumbing.base64url import from_base64url, to_base64url

_NONCE_BYTES = 20
_TAG_BYTES = 12
"""Together the 32 bytes of a refresh token: 160 bits nobody can guess, and 96 that say
that we made it."""

_REFRESH: Final = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})", re.ASCII)
_TWO_PART: Final = re.compile(
    r"(girih(?:inv)?)_([0-9a-f]{32})_([0-9a-f]{32})_([A-Za-z0-9_-]{43})([0-9a-f]{8})", re.ASCII
)

KEY_PREFIX: Final = "girih"
INVITATION_PREFIX: Final = "girihinv"


def hash_of(secret: str) -> str:
    """What is stored of a secret: SHA-256, in hexadecimal.

    Enough for secrets of 160 bits and more, which nobody can try out. Not for passwords.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def is_same(one_hash: str, other_hash: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(one_hash.encode(), other_hash.encode())


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The right to get the next pair of tokens of one session."""

    session_id: str
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The token, or None when it is none by its shape."""
        match = _REFRESH.fullmatch(text)
        return cls(str(UUID(match[1])), match[2]) if match else None

    @property
    def text(self) -> str:
        return f"{UUID(self.session_id).hex}.{self.secret}"

    @property
    def hash(self) -> str:
        return hash_of(self.text)


class RefreshTokens:
    """Makes refresh tokens, and tells ours from others, by a key that all replicas share."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        """`key` gives the key of the moment, which may be replaced while sessions are open."""
        self._key = key

    def first(self, session_id: str) -> RefreshToken:
        """The token that a session begins with."""
        return self._made(session_id, secrets.token_bytes(_NONCE_BYTES))

    def successor(self, token: RefreshToken, generation: int) -> RefreshToken:
        """What `token` is traded for, which makes the session's given generation.

        The same token gives the same successor on every replica, so a trade whose answer
        was lost can be repeated, and yet no successor is ever stored.
        """
        nonce = self._mac(f"next|{token.session_id}|{generation}|{token.secret}")[:_NONCE_BYTES]
        return self._made(token.session_id, nonce)

    def made(self, token: RefreshToken) -> bool:
        """Whether the token is, or was once, one of ours.

        So a session's id alone, which is no secret, is not enough to have it ended as stolen.
        """
        try:
            secret = from_base64url(token.secret)
        except ValueError:
            return False
        nonce, tag = secret[:_NONCE_BYTES], secret[_NONCE_BYTES:]
        return hmac.compare_digest(tag, self._tag(token.session_id, nonce))

    def _made(self, session_id: str, nonce: bytes) -> RefreshToken:
        return RefreshToken(session_id, to_base64url(nonce + self._tag(session_id, nonce)))

    def _tag(self, session_id: str, nonce: bytes) -> bytes:
        return self._mac(f"ours|{session_id}|{nonce.hex()}")[:_TAG_BYTES]

    def _mac(self, text: str) -> bytes:
        return hmac.digest(self._key(), text.encode(), "sha256")


@dataclass(frozen=True, slots=True)
class TenantSecret:
    """An API key or an invitation: something of a tenant, known by its secret."""

    prefix: str
    tenant_id: str
    own_id: str
    """The id of the key or invitation."""
    secret: str = field(repr=False)

    @classmethod
    def new(cls, prefix: str, tenant_id: str, own_id: str) -> Self:
        return cls(prefix, tenant_id, own_id, secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, prefix: str, text: str) -> Self | None:
        """What the text names, or None when it is not one by its shape and checksum."""
        match = _TWO_PART.fullmatch(text)
        if not match or match[1] != prefix or match[5] != _checksum(text[:-8]):
            return None
        return cls(prefix, str(UUID(match[2])), str(UUID(match[3])), match[4])

    @property
    def text(self) -> str:
        ids = f"{UUID(self.tenant_id).hex}_{UUID(self.own_id).hex}"
        text = f"{self.prefix}_{ids}_{self.secret}"
        return text + _checksum(text)

    @property
    def hash(self) -> str:
        return hash_of(self.text)


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
