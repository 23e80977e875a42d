"""Which clients may come, by address: what is denied is refused first, then, if anything is allowed, only that passes.

Networks become integers by prefix length, so a look-up costs one shift and one set per length in use, however many
networks there are. Pure.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

from gateway.domain.traffic import ErrorKind
from gateway.edge.client_address import parse
from gateway.edge.exchange import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAPPED_BITS = 96  # of an IPv6 network that holds IPv4 addresses (RFC 4291 section 2.5.5.2)

FORBIDDEN = Refusal(403, ErrorKind.FORBIDDEN, "This address is not admitted here.")


class Networks:
    """A set of networks of both versions."""

    def __init__(self, cidrs: Iterable[str]) -> None:
        v4: dict[int, set[int]] = {}
        v6: dict[int, set[int]] = {}
        for cidr in cidrs:
            network = ip_network(cidr, strict=False)
            table, bits, length = v4, 32, network.prefixlen
            if isinstance(network, IPv6Network):
                if length >= _MAPPED_BITS and network.network_address.ipv4_mapped is not None:
                    length -= _MAPPED_BITS  # clients' mapped addresses are compared as IPv4
                    number = int(network.network_address) & 0xFFFFFFFF
                else:
                    table, bits, number = v6, 128, int(network.network_address)
            else:
                number = int(network.network_address)
            table.setdefault(bits - length, set()).add(number >> (bits - length))
        self._v4 = tuple(v4.items())
        self._v6 = tuple(v6.items())

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)

    def __contains__(self, client: str) -> bool:
        address = parse(client)
        if address is None:  # a Unix socket's peer, say: in no network
            return False
        number = int(address)
        table = self._v4 if isinstance(address, IPv4Address) else self._v6
        return any(number >> shift in prefixes for shift, prefixes in table)


class AccessList:
    """Judges client addresses by ``allow`` and ``deny``, both CIDR."""

    __slots__ = ("_allow", "_deny")

    def __init__(self, allow: Iterable[str], deny: Iterable[str]) -> None:
        self._allow = Networks(allow)
        self._deny = Networks(deny)

    def judge(self, client: str) -> Refusal | None:
        """A 403 for whom the lists keep out, or None. What is no address is only kept out by a list of allowed ones."""
        if client in self._deny or (self._allow and client not in self._allow):
            return FORBIDDEN
        return None


def access_list(allow: tuple[str, ...], deny: tuple[str, ...]) -> AccessList | None:
    """The compiled list, or None where everyone may come."""
    return AccessList(allow, deny) if allow or deny else None
