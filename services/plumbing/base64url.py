"""Bytes as text, one text for each. Knows not what they name."""

import base64


def to_base64url(data: bytes) -> str:
    """Without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Raises ValueError for padding, foreign characters, and bits that belong to nothing.

    Python's own decoder skips what it does not know, so that many texts mean one value.
    """
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if to_base64url(data) != text:
        raise ValueError("must be base64url in its only form")
    return data
