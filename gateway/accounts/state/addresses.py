"""E-mail addresses: which are taken, and which are one. Knows no users.

Two addresses are one when users cannot tell them apart. The domain is compared as it is
looked up, in ASCII (UTS 46, then IDNA 2008): `bücher.example` is `xn--bcher-kva.example`. What
stands before the @ is compared as Unicode's NFKC_Casefold. Letters of several scripts that only
look alike stay different.
"""

import hashlib
import re
import unicodedata
from typing import Final

import idna

from services.plumbing.errors import Violations

_REFUSED: Final = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}
"""Spaces of all kinds, control characters, those that are not seen, and those that are none."""

# Letters and marks that nothing is drawn for, beside those of the categories above.
_UNSEEN: Final = dict.fromkeys(
    [
        0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0,
        *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0),
    ]
)  # fmt: skip

_LABEL_CHARS_MAX: Final = 63
_dot = re.compile("[.\u3002\uff0e\uff61]")


def check_address(email: str, violations: Violations, field_name: str = "email") -> None:
    """What a new address must be, beyond the pattern of the contract.

    Adds nothing where the field is known to be bad. Older addresses are not asked: whoever
    registered with one goes on with it.
    """
    if violations.has(field_name):
        return
    local, _, domain = email.rpartition("@")
    if any(unicodedata.category(char) in _REFUSED or ord(char) in _UNSEEN for char in email):
        violations.add(field_name, "must have no spaces, control characters or unseen ones")
    elif unicodedata.normalize("NFKC", local) != unicodedata.normalize("NFC", local):
        # A full-width @ among them, which reads as one.
        violations.add(field_name, "must have no character that is another one in disguise")
    elif not _in_ascii(domain) or domain.endswith("."):
        violations.add(field_name, "must end in a domain that has a name (IDNA 2008)")


def same_address(email: str) -> str:
    """The one text for all addresses that are one."""
    local, _, domain = email.rpartition("@")
    return f"{_folded(local)}@{_in_ascii(domain) or _folded(domain)}"


def address_key(email: str) -> str:
    """What names an address in streams and counters, and does not tell it."""
    return _key(same_address(email))


def claim_keys(email: str) -> tuple[str, ...]:
    """The keys that a user with this address may have claimed it by; that which is first counts.

    Before domains were looked up, an address was claimed by its text alone. Whoever wrote it as
    when it was registered is found first, then whoever registered it as it is done now, then
    whoever had registered the other form of its domain. For an address in ASCII all are one.
    """
    local, _, domain = email.rpartition("@")
    keys = [_key(_folded(email)), address_key(email)]
    if ascii_domain := _in_ascii(domain):
        keys.append(_key(_folded(f"{local}@{idna.decode(ascii_domain)}")))
    return tuple(dict.fromkeys(keys))


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text.translate(_UNSEEN)).casefold()
    return unicodedata.normalize("NFKC", folded)


def _in_ascii(domain: str) -> str:
    """The domain as it is looked up, without a dot at its end; empty for what is none."""
    if max(map(len, _dot.split(domain))) > _LABEL_CHARS_MAX:
        return ""  # looking closer takes the square of the time
    try:
        return idna.encode(domain, uts46=True, std3_rules=True).decode().removesuffix(".")
    except idna.IDNAError:
        return ""
