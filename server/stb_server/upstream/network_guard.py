"""Which addresses may be connected to: checked on the resolved address, at the moment of connecting.

A name is resolved once per connection, every address is checked, and the connection goes to a checked
address, not to the name. Whoever opens a socket checks its address again. So neither a name that points
inwards, nor one that changes between check and connection (DNS rebinding), nor a redirection reaches a
private address.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

Network: TypeAlias = IPv4Network | IPv6Network
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and a port to addresses as text, in the order in which to try them."""

# The registries of special-purpose addresses (IANA; RFC 6890 and later), written out so that they do
# not depend on Python's version. Of IPv6, only what is given out as global unicast is public, less
# protocol assignments and Teredo (2001::/23), documentation and 6to4.
_SPECIAL = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        ),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(OSError):
    """All addresses of a host are private, and the configuration does not allow them."""


@dataclass(frozen=True)
class AddressRules:
    """Public addresses are permitted, and those of networks that are explicitly allowed."""

    allowed: tuple[Network, ...] = ()

    def permit(self, address: str) -> bool:
        """Whether to connect to an address, given as text; False for text that is not an address."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if any(parsed.version == network.version and parsed in network for network in self.allowed):
            return True
        return _is_public(_carried(parsed) or parsed)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return not any(address.version == network.version and address in network for network in _SPECIAL)


def _carried(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to: mapped (RFC 4291) or through NAT64 (RFC 6052)."""
    if isinstance(address, IPv4Address):
        return None
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.ipv4_mapped


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system resolves it."""
    rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in rows))


class GuardedResolver(AbstractResolver):
    """Resolves names to their permitted addresses, for aiohttp."""

    def __init__(self, rules: AddressRules, resolver: Resolver) -> None:
        self._rules = rules
        self._resolver = resolver

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp's interface
    ) -> list[ResolveResult]:
        """The permitted addresses of a host, in the order in which to try them.

        Raises:
            ForbiddenAddressError: no address of the host is permitted.
            OSError: the host has no address.
        """
        try:
            addresses = await self._resolver(host, port)
        except UnicodeError:
            raise OSError("The name cannot be resolved.") from None
        permitted = [address for address in addresses if self._rules.permit(address)]
        if addresses and not permitted:
            raise ForbiddenAddressError("The host has no permitted address.")
        if not permitted:
            raise OSError("The name has no address.")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in permitted
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def open_guarded_connector(
    rules: AddressRules, tls: ssl.SSLContext, *, resolver: Resolver = resolve, keepalive_s: float = 15.0
) -> aiohttp.TCPConnector:
    """A pool of connections to permitted addresses.

    Every socket is made by a function that checks its address, so the check holds for names and for addresses
    in URLs, which aiohttp does not resolve. aiohttp must not remember addresses: each connection asks again.
    """

    def make_socket(target: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = target
        if not rules.permit(str(address[0])):
            raise ForbiddenAddressError("The address is not permitted.")
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        resolver=GuardedResolver(rules, resolver),
        use_dns_cache=False,
        socket_factory=make_socket,
        happy_eyeballs_delay=None,  # one address after the other, in the resolver's order
        ssl=tls,
        limit=0,
        keepalive_timeout=keepalive_s,
    )
