"""Who is at the far end: X-Forwarded-For is believed only from trusted proxies, and walked from the right.

Every proxy appends the address it was called from, so the first address from the right that is not a trusted proxy is
the last one anybody we trust has seen. What stands left of it is the caller's own claim.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

MEMO_ENTRIES = 4096  # distinct (peer, field) pairs, and addresses, kept; a table is emptied when full
MAX_FIELD_BYTES = 1024  # a longer chain of proxies than any real one

Address = IPv4Address | IPv6Address


_parsed: dict[str, Address | None] = {}


def parse(text: str) -> Address | None:
    """An address as :class:`ClientAddresses` gives it or a peer has it; None when it is none. Memoised."""
    if text in _parsed:
        return _parsed[text]
    if len(_parsed) >= MEMO_ENTRIES:
        _parsed.clear()
    found = _parsed[text] = _address(text)
    return found


def _address(text: str) -> Address | None:
    """An address with an optional port, IPv4-mapped IPv6 as IPv4; None when it is anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


class ClientAddresses:
    """Resolves (peer, X-Forwarded-For) to the caller's address. Memoised: the same few pairs come again and again."""

    def __init__(self, trusted_proxies: tuple[str, ...]) -> None:
        self._trusted = tuple(ip_network(cidr, strict=False) for cidr in trusted_proxies)
        self._memo: dict[tuple[str, bytes], tuple[str, bool]] = {}

    def resolve(self, peer: str, forwarded_for: bytes | None) -> tuple[str, bool]:
        """The caller's address, and whether the peer is a trusted proxy."""
        if not self._trusted:
            return peer, False
        chain = forwarded_for or b""
        if len(chain) > MAX_FIELD_BYTES:  # from a whole address on: half of one is another address
            chain = chain[-MAX_FIELD_BYTES:].partition(b",")[2]
        key = (peer, chain)
        found = self._memo.get(key)
        if found is None:
            if len(self._memo) >= MEMO_ENTRIES:
                self._memo.clear()
            found = self._memo[key] = self._walk(*key)
        return found

    def _walk(self, peer: str, field: bytes) -> tuple[str, bool]:
        hop = _address(peer)
        if hop is None or not self._is_trusted(hop):
            return peer, False
        for text in reversed(field.decode("latin-1").split(",")):
            address = _address(text)
            if address is None:  # garbage: nothing left of it can be believed either
                break
            hop = address
            if not self._is_trusted(address):
                break
        return str(hop), True

    def _is_trusted(self, address: Address) -> bool:
        # An address is never in a network of the other version: the comparison is simply false.
        return any(address in network for network in self._trusted)
