"""Ids that nobody else has, and the text that stands for bytes. Knows not what they name."""

import base64
import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then chance. Sorts by time."""
    return uuid7_at(time.time_ns() // 1_000_000, os.urandom(10))


def uuid7_at(unix_ms: int, random: bytes) -> UUID:
    """The one of a moment, with these 10 bytes for chance, of which 6 bits are given up."""
    number = unix_ms << 80 | int.from_bytes(random)
    version_and_variant = 0xF << 76 | 0b11 << 62
    return UUID(int=number & ~version_and_variant | 7 << 76 | 0b10 << 62)


def to_base64url(data: bytes) -> str:
    """Without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Raises ValueError for padding, foreign characters, and bits that belong to nothing.

    Python's own decoder skips what it does not know, so that many texts mean one value.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if to_base64url(data) != text:
        raise ValueError("is not base64url in its only form")
    return data
