"""Digests of what is sent, as RFC 9530 writes them: `sha-256=:...:`."""

import base64
import binascii
import hashlib
import re

from services.plumbing.errors import InvalidInput

_ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
_entry = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):[ \t]*").fullmatch
_FIELD = "content_digest"


class ContentDigest:
    """What bytes are to be, and what they were so far. Not for several threads at once."""

    def __init__(self, expected: str) -> None:
        """Raises InvalidInput for what is no digest, or none of those we know.

        Unknown algorithms beside a known one are passed over, as the RFC says.
        """
        digests = dict(_entries(expected)) if expected else {}
        self._expected = {name: digests[name] for name in _ALGORITHMS if name in digests}
        if digests and not self._expected:
            raise InvalidInput.of(_FIELD, f"must have one of {', '.join(_ALGORITHMS)}")
        self._running = {name: hashlib.new(_ALGORITHMS[name]) for name in self._expected}

    @property
    def is_expected(self) -> bool:
        """Any digest is to be checked."""
        return bool(self._expected)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        for running in self._running.values():
            running.update(data)

    def check(self) -> None:
        """Raise InvalidInput unless all bytes are what they were to be."""
        for name, running in self._running.items():
            if running.digest() != self._expected[name]:
                raise InvalidInput.of(_FIELD, f"must be that of the bytes sent: {name} is another")


def _entries(text: str) -> list[tuple[str, bytes]]:
    entries = []
    for part in text.split(","):
        match = _entry(part)
        try:
            digest = base64.b64decode(match[2], validate=True) if match else None
        except binascii.Error:
            digest = None
        if match is None or digest is None:
            raise InvalidInput.of(_FIELD, "must be as in RFC 9530: sha-256=:BASE64:")
        entries.append((match[1], digest))
    return entries
