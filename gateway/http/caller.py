"""From which address a request comes, which is not always where its connection comes from.

Believes what a header says only as far as proxies of ours have written it: a client can
send any header it likes. Knows no limits.
"""

import re
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ForwardedHeader = Literal["x-forwarded-for", "forwarded"]

UNKNOWN: Final = "unknown"
"""The address of a connection that has none, such as a Unix socket."""

_HOP_COUNT_MAX = 32
_IPV6_PREFIX = 64

# RFC 7239, 4: within quotes a comma ends no hop, and a semicolon no pair.
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_has_closed_quotes = re.compile(rf'(?:[^"]++|{_QUOTED})*+', re.DOTALL).fullmatch
_quoted_hops = re.compile(rf'(?:[^,"]++|{_QUOTED})++', re.DOTALL).findall
_pair = re.compile(rf'[ \t]*+([^;="\s]++)=({_QUOTED}|[^;"\s]*+)[ \t]*+(?:;|\Z)').match
_with_port = re.compile(r"\[([0-9a-fA-F:.]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+").fullmatch

_address: ContextVar[str] = ContextVar("girih_caller_address", default=UNKNOWN)


def caller_address() -> str:
    """The address that the request being served comes from."""
    return _address.get()


def enter_address(address: str) -> None:
    """Make this the caller's address for the rest of this task."""
    _address.set(address)


def trusted_networks(text: str) -> tuple[Network, ...]:
    """The networks in a list with commas; raises ValueError."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


@lru_cache(maxsize=16_384)
def network_of(address: str) -> str:
    """What one caller can easily choose addresses from, as one name.

    An IPv6 customer gets at least a /64, which is therefore one caller here. IPv4 addresses
    stand for themselves, also when they are written as IPv6.
    """
    parsed = _parsed(address)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(IPv6Network((parsed, _IPV6_PREFIX), strict=False))


class Proxies:
    """Whose word about addresses is taken."""

    def __init__(
        self, trusted: Iterable[Network] = (), header: ForwardedHeader = "x-forwarded-for"
    ) -> None:
        self._trusted = tuple(trusted)
        self._name = header.encode()
        self._hops = _forwarded_hops if header == "forwarded" else _plain_hops

    def address_of(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The caller's address: the last one on the way here that is no proxy of ours.

        Each proxy adds on the right whom it was called by. What stands left of the first
        stranger is what that stranger says, and counts for nothing.
        """
        if not self._trusted or self._name not in headers:
            return peer
        caller = peer
        hops = self._hops(headers[self._name].decode("latin-1"))
        for hop in reversed(hops[-_HOP_COUNT_MAX:]):
            if not self._trusts(caller):
                break
            address = _parsed(hop)
            if address is None:
                break
            caller = str(address)
        return caller

    def _trusts(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(
            parsed.version == network.version and parsed in network for network in self._trusted
        )


def _plain_hops(text: str) -> list[str]:
    """The addresses of X-Forwarded-For, first to last."""
    return [_without_port(hop.strip(" \t")) for hop in text.rsplit(",", _HOP_COUNT_MAX)]


def _forwarded_hops(text: str) -> list[str]:
    """The addresses of Forwarded, first to last.

    None when a quote is left open: whoever wrote that would choose what all behind it say.
    """
    if not _has_closed_quotes(text):
        return []
    return [_forwarded_address(hop.strip(" \t")) for hop in _quoted_hops(text)[-_HOP_COUNT_MAX:]]


def _forwarded_address(hop: str) -> str:
    """What the pair `for` says, quoted or not; empty for a hop without, or that is none."""
    match = _pair(hop)
    while match is not None:
        name, value = match.groups()
        if name.lower() == "for":
            return _without_port(value.strip('"'))
        match = _pair(hop, match.end())
    return ""


def _without_port(text: str) -> str:
    match = _with_port(text)
    return (match[1] or match[2]) if match else text


def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
