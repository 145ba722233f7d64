"""Replaces the keys that tokens are signed with, while processes run and tokens are under way.

The next public key is published; when every process has read it, the private key is swapped;
the old public key stays trusted until the last token that it signed has expired.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cli import exit_codes
from cli.failure import Failed
from cli.local.keyfiles import KeyFiles, changing, explained
from services.plumbing.auth.keys import SigningKey, read_jwks, write_jwks
from services.plumbing.watched import REREAD_INTERVAL_S

WAIT_S = 2 * REREAD_INTERVAL_S + 1.0
"""How long every process of this machine takes at most to read a changed file."""

OLD_KEY_S = 20 * 60.0
"""How long an old key stays trusted: 15 minutes of the longest token, and some."""


@dataclass(frozen=True)
class Held:
    """One key of the trust store."""

    kid: str
    issuer: str
    signs: bool
    retire_at_s: float | None

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.retire_at_s is not None:
            return "retired" if self.retire_at_s <= time.time() else "retiring"
        return "signs" if self.signs else "trusted, does not sign"


def held(files: KeyFiles) -> list[Held]:
    """The keys of the trust store. Raises Failed."""
    with explained():
        signing = {SigningKey.load(path).kid for path in files.private.values()}
        return [
            Held(jwk["kid"], jwk["iss"], jwk["kid"] in signing, jwk.get("retire_at"))
            for jwk in read_jwks(files.trusted)
        ]


def rotate(
    files: KeyFiles, issuers: Sequence[str], *, wait_s: float, say: Callable[[str], None]
) -> list[str]:
    """Give each issuer a new key, and answer their names. Raises Failed.

    Interrupted before the swap, everything is as it was.
    """
    with changing(files.directory), explained():
        old = {issuer: SigningKey.load(files.private[issuer]).kid for issuer in issuers}
        new = {issuer: SigningKey.generate() for issuer in issuers}
        _publish(files, [key.public_jwk(issuer) for issuer, key in new.items()])
        try:
            say(f"published; waiting {wait_s:g} s until every process has read it")
            time.sleep(wait_s)
        except BaseException:
            _withdraw(files, {key.kid for key in new.values()})
            raise
        for issuer, key in new.items():
            key.save(files.private[issuer])
        say(f"swapped; the old keys are trusted for {OLD_KEY_S / 60:g} more minutes")
        _retire(files, set(old.values()), time.time() + OLD_KEY_S)
        return [key.kid for key in new.values()]


def retire(files: KeyFiles, kid: str, after_s: float) -> None:
    """Trust a key for `after_s` more seconds. Raises Failed, also for a key that signs."""
    with changing(files.directory):
        retiring = next((key for key in held(files) if key.kid == kid), None)
        if retiring is None:
            raise Failed(f"{files.trusted} has no key {kid}", exit_codes.NOINPUT)
        if retiring.signs:
            message = f"{retiring.issuer} signs with it; rotate first: girih signing-keys rotate"
            raise Failed(message, exit_codes.TEMPFAIL)
        with explained():
            _retire(files, {kid}, time.time() + after_s)


def _publish(files: KeyFiles, new: Sequence[dict[str, Any]]) -> None:
    """Add keys, and leave out those that nobody trusts any more."""
    now = time.time()
    kept = [jwk for jwk in read_jwks(files.trusted) if jwk.get("retire_at", now + 1) > now]
    write_jwks(files.trusted, [*kept, *new])


def _withdraw(files: KeyFiles, kids: set[str]) -> None:
    jwks = read_jwks(files.trusted)
    write_jwks(files.trusted, [jwk for jwk in jwks if jwk["kid"] not in kids])


def _retire(files: KeyFiles, kids: set[str], at_s: float) -> None:
    jwks = read_jwks(files.trusted)
    for jwk in jwks:
        if jwk["kid"] in kids:
            # An earlier end stands: nobody gets a key back by retiring it.
            jwk["retire_at"] = int(min(at_s, jwk.get("retire_at", at_s)))
    write_jwks(files.trusted, jwks)
