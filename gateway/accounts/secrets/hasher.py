"""Argon2id, in a process beside the gateway: `python -m gateway.accounts.secrets.hasher`.

Knows bytes alone. Imports little, so that the process is small and soon there.
"""

import os
from collections.abc import Sequence
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from services.plumbing.beside.work import Work, serve, stand_back

_TIME_COST: Final = 2
_PARALLELISM: Final = 1


class Hasher:
    """Makes hashes and compares with them, in any thread."""

    def __init__(self, memory_kib: int) -> None:
        self._argon2 = PasswordHasher(
            time_cost=_TIME_COST,
            memory_cost=memory_kib,
            parallelism=_PARALLELISM,
            hash_len=32,
            salt_len=16,
        )
        self._nobodys_hash = self.hash(os.urandom(16))

    def hash(self, password: bytes) -> str:
        """What is stored of a password."""
        return self._argon2.hash(password)

    def verify(self, password_hash: str, forms: Sequence[bytes]) -> tuple[int, bool] | None:
        """Which form of a password the hash is of, and whether it is made otherwise than now.

        An empty hash is of none, which takes as long to find out. Costs a hash a form.
        """
        known_hash = password_hash or self._nobodys_hash
        for number, form in enumerate(forms):
            if self._fits(known_hash, form):
                return number, self._argon2.check_needs_rehash(known_hash)
        return None

    def _fits(self, password_hash: str, password: bytes) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except VerifyMismatchError:
            return False


def start(setup: tuple[int, int, int]) -> tuple[Work, int]:
    """To be served: how much memory a hash takes, in KiB, how many threads there are, and how far
    they stand back, `NICENESS_MAX` for whenever anything else wants the core."""
    memory_kib, thread_count, niceness = setup
    stand_back(niceness)
    hasher = Hasher(memory_kib)
    work: dict[str, Work] = {"hash": hasher.hash, "verify": hasher.verify}
    return lambda name, *arguments: work[name](*arguments), thread_count


if __name__ == "__main__":
    serve(start)
