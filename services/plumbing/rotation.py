"""Replaces a signing key while everything runs, so that nobody is refused meanwhile.

The next key is trusted everywhere before the first token is signed with it, and the last
token of the one before has expired when that is trusted no more.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.plumbing.errors import CannotRun
from services.plumbing.keys import SigningKey, read_jwks, write_jwks
from services.plumbing.tokens import LIFETIME_S_MAX
from services.plumbing.watched import REREAD_INTERVAL_S

SETTLE_S: Final = 3 * REREAD_INTERVAL_S
"""How long every process on the same files takes at most to see a new version, in seconds."""
RETIRE_AFTER_S: Final = LIFETIME_S_MAX + 300
"""How long a key is trusted after the last token was signed with it, in seconds."""


class RotationRuns(CannotRun):
    """Somebody else is changing the same trust store at the moment."""


@dataclass(frozen=True)
class Rotation:
    """What was done."""

    kid: str
    """The key that tokens are signed with from now on."""
    retired: tuple[str, ...]
    """The keys that signed before."""
    retire_at: int
    """Unix seconds from which on those count for nothing."""


def rotate(
    signing_key: Path,
    trusted_keys: Path,
    iss: str,
    *,
    settle_s: float = SETTLE_S,
    retire_after_s: int = RETIRE_AFTER_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Rotation:
    """Give the issuer `iss` a new key; takes `settle_s`, and may be run again if cut off.

    With `settle_s` and `retire_after_s` 0 the old key is worth nothing at once, and with it
    every token that it signed: for a key that somebody else may have. Raises `WrongKey`, or
    `RotationRuns`.
    """
    with _alone(trusted_keys.parent):
        key = SigningKey.generate()
        publish(trusted_keys, key, iss)
        sleep(settle_s)
        key.save(signing_key)
        retire_at = int(time.time()) + retire_after_s
        retired = retire_others(trusted_keys, key.kid, iss, retire_at)
    return Rotation(key.kid, retired, retire_at)


def publish(trusted_keys: Path, key: SigningKey, iss: str) -> None:
    """Let every process trust what `key` will sign; forget keys that retired long ago."""
    now = time.time()
    kept = [jwk for jwk in read_jwks(trusted_keys) if jwk.get("retire_at", now + 1) > now]
    write_jwks(trusted_keys, [*kept, key.public_jwk(iss)])


def retire_others(trusted_keys: Path, kid: str, iss: str, retire_at: int) -> tuple[str, ...]:
    """Trust no key of `iss` but `kid` from `retire_at` on; gives those that this is new for."""
    jwks = read_jwks(trusted_keys)
    others = [jwk for jwk in jwks if jwk["iss"] == iss and jwk["kid"] != kid]
    late = [jwk for jwk in others if _retires(jwk) > retire_at]
    for jwk in late:
        jwk["retire_at"] = retire_at
    write_jwks(trusted_keys, jwks)
    return tuple(jwk["kid"] for jwk in late)


def _retires(jwk: dict[str, Any]) -> float:
    moment: float = jwk.get("retire_at", float("inf"))
    return moment


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Of two rotations at once, one would retire the key that the other has just begun to use."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RotationRuns(f"{directory}: another rotation is running") from None
    finally:
        os.close(descriptor)
