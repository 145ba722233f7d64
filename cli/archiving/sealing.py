"""Files that only who has a key can read, or change unnoticed. Knows nothing of what is in them.

AES-256-GCM in pieces of 64 KiB, each under a nonce of its own: its number, and whether it is the
last. So a piece that is changed, moved, repeated or left out is found. Each file has a key of its
own, made of the key file, 16 random bytes that it begins with, and its name: nobody can put one in
the place of another.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cli import exit_codes
from cli.failure import Failed

KEY_BYTES: Final = 32

_HEAD: Final = b"girih sealed 1\n"
_SALT_BYTES: Final = 16
_PIECE_BYTES: Final = 64 * 1024
_TAG_BYTES: Final = 16
_COUNTER_BYTES: Final = 11


class Damaged(Exception):
    """A file is not what was written. The message names it."""


def create_key(path: Path) -> None:
    """A new key in a file that its owner alone can read. Raises Failed when the file is there."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Failed(f"{path} is there already", exit_codes.CANTCREAT) from error
    with os.fdopen(handle, "w") as file:
        file.write(f"{secrets.token_hex(KEY_BYTES)}\n")
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> bytes:
    """The key in a file: 64 hexadecimal digits. Raises Failed."""
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise Failed(f"{path} holds no key: {error}", exit_codes.CONFIG) from error
    if len(key) != KEY_BYTES:
        raise Failed(f"{path} holds no key: must be {2 * KEY_BYTES} digits", exit_codes.CONFIG)
    return key


class SealingWriter:
    """Seals what is written to it into a file. Complete once it is closed."""

    def __init__(self, file: BinaryIO, key: bytes, name: str) -> None:
        salt = secrets.token_bytes(_SALT_BYTES)
        self._file = file
        self._cipher = _cipher(key, salt, name)
        self._pending = bytearray()
        self._count = 0
        file.write(_HEAD + salt)

    def write(self, content: bytes) -> int:
        self._pending += content
        while len(self._pending) > _PIECE_BYTES:
            self._seal(bytes(self._pending[:_PIECE_BYTES]), is_last=False)
            del self._pending[:_PIECE_BYTES]
        return len(content)

    def flush(self) -> None:
        """What is pending waits for its piece."""

    def close(self) -> None:
        """Write the last piece; the file stays open."""
        self._seal(bytes(self._pending), is_last=True)
        self._pending.clear()

    def _seal(self, piece: bytes, *, is_last: bool) -> None:
        nonce = _nonce(self._count, is_last=is_last)
        self._file.write(self._cipher.encrypt(nonce, piece, None))
        self._count += 1


def opened(file: BinaryIO, key: bytes, name: str) -> Iterator[bytes]:
    """The pieces of a sealed file. Raises Damaged, also for another key or another name."""
    head = file.read(len(_HEAD) + _SALT_BYTES)
    if not head.startswith(_HEAD) or len(head) < len(_HEAD) + _SALT_BYTES:
        raise Damaged(f"{name} is not sealed, or its beginning was changed")
    cipher = _cipher(key, head[len(_HEAD) :], name)
    count, piece = 0, file.read(_PIECE_BYTES + _TAG_BYTES)
    while True:
        following = file.read(_PIECE_BYTES + _TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(count, is_last=not following), piece, None)
        except InvalidTag:
            message = f"{name} was changed in bytes {count * _PIECE_BYTES:,} and behind, or the key"
            raise Damaged(f"{message} is another one") from None
        if not following:
            return
        count, piece = count + 1, following


def _cipher(key: bytes, salt: bytes, name: str) -> AESGCM:
    info = f"girih archive {name}".encode()
    return AESGCM(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(key))


def _nonce(count: int, *, is_last: bool) -> bytes:
    return count.to_bytes(_COUNTER_BYTES, "big") + bytes([is_last])
