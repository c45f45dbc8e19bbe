"""Which addresses may be connected to: checked on the resolved address, at the moment of connecting.

A name is resolved once per connection, every address is checked, and the connection goes to a checked
address, not to the name. So neither a name that points inwards, nor one that changes
between check and connection (DNS rebinding), nor a redirection reaches a private address.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

import httpcore

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


class ForbiddenAddressError(httpcore.ConnectError):
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


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to permitted addresses only."""

    def __init__(self, rules: AddressRules, resolver: Resolver = resolve) -> None:
        self._rules = rules
        self._resolver = resolver
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address that accepts.

        Raises:
            ForbiddenAddressError: no address of the host is permitted.
            httpcore.ConnectError: the host has no address, or none accepts.
            httpcore.ConnectTimeout: this took longer than ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._connect(host, port, local_address, socket_options)
        except TimeoutError:
            raise httpcore.ConnectTimeout from None

    async def _connect(
        self,
        host: str,
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolver(host.strip("[]"), port)
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("The name cannot be resolved.") from None
        permitted = [address for address in addresses if self._rules.permit(address)]
        if addresses and not permitted:
            raise ForbiddenAddressError("The host has no permitted address.")
        for address in permitted:
            try:
                stream = await self._backend.connect_tcp(
                    address, port, local_address=local_address, socket_options=socket_options
                )
                return _ClosingStream(stream)
            except httpcore.ConnectError:
                continue
        raise httpcore.ConnectError("No address accepts connections.")

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - httpcore's interface
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: real APIs are never Unix sockets."""
        raise ForbiddenAddressError("Unix sockets are not allowed.")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class _ClosingStream(httpcore.AsyncNetworkStream):
    """A stream that is closed when its TLS handshake is cancelled; the library's own would stay open."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
