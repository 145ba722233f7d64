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

# The address of `for=` in RFC 7239: quoted and in brackets when it is IPv6, perhaps a port.
_forwarded_for = re.compile(
    r'(?:^|;)\s*for="?(?:\[([0-9a-f:.]+)\]|([0-9.]+))(?::[0-9]+)?"?\s*(?:;|$)', re.IGNORECASE
).search
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
        self._hop = _forwarded_hop if header == "forwarded" else _plain_hop

    def address_of(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The caller's address: the last one on the way here that is no proxy of ours.

        Each proxy adds on the right whom it was called by. What stands left of the first
        stranger is what that stranger says, and counts for nothing.
        """
        if not self._trusted or self._name not in headers:
            return peer
        caller = peer
        hops = headers[self._name].decode("latin-1").rsplit(",", _HOP_COUNT_MAX)
        for hop in reversed(hops[-_HOP_COUNT_MAX:]):
            if not self._trusts(caller):
                break
            address = _parsed(self._hop(hop))
            if address is None:
                break
            caller = str(address)
        return caller

    def _trusts(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(
            parsed.version == network.version and parsed in network for network in self._trusted
        )


def _plain_hop(hop: str) -> str:
    hop = hop.strip()
    match = _with_port(hop)
    return (match[1] or match[2]) if match else hop


def _forwarded_hop(hop: str) -> str:
    match = _forwarded_for(hop)
    return (match[1] or match[2]) if match else ""


def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
