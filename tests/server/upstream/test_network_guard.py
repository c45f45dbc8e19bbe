"""Connections go to permitted addresses only, whatever a name says and when it says it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from ipaddress import ip_network

import aiohttp
import pytest
from aiohttp.abc import ResolveResult

from raw_server import Heard, reply, running_raw_server
from stb_server.upstream.network_guard import (
    AddressRules,
    ForbiddenAddressError,
    Resolver,
    open_guarded_connector,
    resolve,
)

LOOPBACK = AddressRules((ip_network("127.0.0.1/32"),))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1"),
        *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *(
            "::",
            "::1",
            "fe80::1",
            "fe80::1%eth0",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
        ),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
        *(
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:7f00:1::",
            "100::1",
            "3fff::1",
            "5f00::1",
        ),
        *("", "localhost", "127.1", "0x7f000001", "2130706433", "example.com"),
    ],
)
def test_what_is_not_public_is_not_permitted(address: str) -> None:
    """Private, loopback, link-local, multicast and reserved addresses, also inside IPv6; and names."""
    assert not AddressRules().permit(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public_addresses_are_permitted(address: str) -> None:
    """IPv4, IPv6, and one inside the other."""
    assert AddressRules().permit(address)


def test_a_network_can_be_allowed_by_name() -> None:
    """That network, and no other."""
    rules = AddressRules((ip_network("10.1.0.0/16"), ip_network("fd00::/8")))

    assert [True, False, True, False] == [
        rules.permit(address) for address in ("10.1.2.3", "10.2.0.1", "fd00::1", "127.0.0.1")
    ]


def giving(*rounds: Sequence[str]) -> Resolver:
    """A resolver that gives other addresses from call to call."""
    left = list(rounds)

    async def resolver(host: str, port: int) -> Sequence[str]:
        return left.pop(0)

    return resolver


async def connect(
    host: str, port: int, rules: AddressRules = LOOPBACK, resolver: Resolver = resolve, connect_s: float = 60
) -> str:
    """Ask a server for the address at which it was reached."""
    async with (
        aiohttp.ClientSession(
            connector=open_guarded_connector(rules, ssl.create_default_context(), resolver=resolver),
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_s, sock_read=60),
        ) as session,
        session.get(f"http://{host}:{port}/address") as response,
    ):
        return await response.text()


async def address(heard: Heard, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(body=writer.get_extra_info("sockname")[0].encode()))


def is_forbidden(problem: aiohttp.ClientConnectorError) -> bool:
    return isinstance(problem.__cause__, ForbiddenAddressError)


@pytest.mark.parametrize(
    ("host", "resolver"), [("api.example", giving(["127.0.0.2"])), ("127.0.0.2", resolve), ("[::1]", resolve)]
)
async def test_a_private_address_is_refused_at_connect(host: str, resolver: Resolver) -> None:
    """Although something listens there: behind a name, and as an address, which nothing resolves."""
    async with running_raw_server() as server:
        with pytest.raises(aiohttp.ClientConnectorError, check=is_forbidden):
            await connect(host, server.port, resolver=resolver)

        assert 0 == server.connections


async def test_a_name_is_resolved_once_for_a_connection() -> None:
    """A second, private answer of the name server (DNS rebinding) is not asked for."""
    async with running_raw_server(address=address) as server:
        resolver = giving(["127.0.0.1"], ["10.0.0.1"])

        assert "127.0.0.1" == await connect("api.example", server.port, resolver=resolver)
        with pytest.raises(aiohttp.ClientConnectorError, check=is_forbidden):
            await connect("api.example", server.port, resolver=resolver)


async def test_a_resolver_is_not_trusted() -> None:
    """Every socket's address is checked, also where a resolver lets a private one through."""

    async def resolve_all(host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.2", port=port, family=socket.AF_INET, proto=0, flags=0)
        ]

    async with running_raw_server() as server:
        connector = open_guarded_connector(LOOPBACK, ssl.create_default_context())
        connector._resolver.resolve = resolve_all  # type: ignore[method-assign,assignment]
        async with aiohttp.ClientSession(connector=connector) as session:
            with pytest.raises(aiohttp.ClientConnectorError, check=is_forbidden):
                await session.get(f"http://api.example:{server.port}/")

        assert 0 == server.connections


async def test_of_several_addresses_the_permitted_ones_are_tried_in_turn() -> None:
    """One that is private is left out, one that does not accept is followed by the next."""
    async with running_raw_server(address=address) as server:
        rules = AddressRules((ip_network("127.0.0.0/30"),))
        resolver = giving(["10.0.0.1", "127.0.0.2", "127.0.0.1"])

        assert "127.0.0.1" == await connect("api.example", server.port, rules, resolver)


@pytest.mark.parametrize("addresses", [[], ["127.0.0.1"]])
async def test_no_address_or_no_one_there_is_a_failed_connection(addresses: list[str]) -> None:
    """An ordinary error, not a forbidden address."""
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await connect("api.example", 1, resolver=giving(addresses))

    assert not is_forbidden(caught.value)


async def test_a_name_that_cannot_be_resolved_is_a_failed_connection() -> None:
    """As is one whose parts are too long for the name service."""
    for name in ("no-such-host.invalid", "a" * 70 + ".invalid"):
        with pytest.raises(aiohttp.ClientConnectorError):
            await connect(name, 80)


async def test_slow_resolution_counts_as_connecting() -> None:
    """The time to connect covers it."""

    async def resolver(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(aiohttp.ConnectionTimeoutError):
        await connect("api.example", 80, resolver=resolver, connect_s=0.05)


@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"]
)
async def test_other_ways_of_writing_the_loopback_are_refused(host: str) -> None:
    """The system's resolver understands some of them; the check sees what it made of them."""
    async with running_raw_server() as server:
        with pytest.raises((aiohttp.ClientConnectorError, aiohttp.InvalidURL)):
            await connect(host, server.port, AddressRules())

        assert 0 == server.connections
