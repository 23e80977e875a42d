"""Which addresses a notification may never be sent to: link-local ones, where clouds keep their metadata. Pure.

Private and loopback addresses are allowed: a webhook inside the own network is what many teams have.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

# Metadata services outside the link-local ranges: AWS over IPv6, Alibaba and Oracle, Azure's host.
_METADATA = tuple(
    ip_network(network) for network in ("fd00:ec2::254/128", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32")
)
_NAT64 = ip_network("64:ff9b::/96")


def refusal(text: str) -> str:
    """Why nothing is sent to this address, or empty."""
    address = _unwrapped(ip_address(text.partition("%")[0]))
    if address.is_link_local:
        return "link-local, where cloud metadata is served"
    if any(address in network for network in _METADATA):
        return "a cloud's metadata service"
    if address.is_multicast or address.is_unspecified or (address.version == 4 and address.is_reserved):  # noqa: PLR2004 - the IP version
        return "not the address of one host"
    return ""


def is_loopback(host: str) -> bool:
    """Whether the host name or address is this machine, without asking anybody."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, NAT64), by which the same host would be reached."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
