"""The gateway without what hides whether an address is known, to see the proof of that fail.

Taken away: the hash that is computed where there is no user. Everything else is the product.
"""

import os
from unittest.mock import patch

from gateway.accounts.secrets.passwords import PasswordHashing, Verdict
from gateway.app import run
from gateway.settings import Settings
from services.plumbing.process import run_process

_verify = PasswordHashing.verify


async def verify_users_alone(
    hashing: PasswordHashing, password: str, password_hash: str | None
) -> Verdict:
    """As the product does where there is a hash to compare with."""
    if password_hash is None:
        return Verdict(is_right=False)
    return await _verify(hashing, password, password_hash)


if __name__ == "__main__":
    with patch.object(PasswordHashing, "verify", verify_users_alone):
        run_process(Settings, os.environ, run)
