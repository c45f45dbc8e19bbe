"""Connections go to permitted addresses only, whatever a name says and when it says it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

import httpcore
import pytest

from raw_server import running_raw_server
from stb_server.upstream.network_guard import AddressRules, ForbiddenAddressError, GuardedBackend, resolve

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


def answers(*rounds: Sequence[str]) -> GuardedBackend:
    """A backend whose resolver gives other addresses from call to call."""
    left = list(rounds)

    async def resolver(host: str, port: int) -> Sequence[str]:
        return left.pop(0)

    return GuardedBackend(LOOPBACK, resolver)


async def test_a_private_address_is_refused_at_connect() -> None:
    """Although something listens there."""
    async with running_raw_server() as server:
        with pytest.raises(ForbiddenAddressError):
            await answers(["127.0.0.2"]).connect_tcp("api.example", server.port, timeout=60)

        assert 0 == server.connections


async def test_a_name_is_resolved_once_for_a_connection() -> None:
    """A second, private answer of the name server (DNS rebinding) has no one to ask for it."""
    async with running_raw_server() as server:
        backend = answers(["127.0.0.1"], ["10.0.0.1"])
        stream = await backend.connect_tcp("api.example", server.port, timeout=60)
        await stream.aclose()

        with pytest.raises(ForbiddenAddressError):
            await backend.connect_tcp("api.example", server.port, timeout=60)


async def test_of_several_addresses_the_permitted_ones_are_tried_in_turn() -> None:
    """One that is private is left out, one that does not accept is followed by the next."""
    async with running_raw_server() as server:
        rules = AddressRules((ip_network("127.0.0.0/30"),))

        async def resolver(host: str, port: int) -> Sequence[str]:
            return ["10.0.0.1", "127.0.0.2", "127.0.0.1"]

        stream = await GuardedBackend(rules, resolver).connect_tcp("api.example", server.port, timeout=60)
        address = stream.get_extra_info("server_addr")
        await stream.aclose()

        assert ("127.0.0.1", server.port) == address


@pytest.mark.parametrize("addresses", [[], ["127.0.0.1"]])
async def test_no_address_or_no_one_there_is_a_failed_connection(addresses: list[str]) -> None:
    """An ordinary error, not a forbidden address."""
    with pytest.raises(httpcore.ConnectError) as caught:
        await answers(addresses).connect_tcp("api.example", 1, timeout=60)

    assert not isinstance(caught.value, ForbiddenAddressError)


async def test_a_name_that_cannot_be_resolved_is_a_failed_connection() -> None:
    """As is one that is no name at all."""
    for name in ("a" * 70 + ".invalid", "\udcff"):
        with pytest.raises(httpcore.ConnectError):
            await GuardedBackend(LOOPBACK).connect_tcp(name, 80, timeout=60)


async def test_slow_resolution_counts_as_connecting() -> None:
    """The time to connect covers it."""

    async def resolver(host: str, port: int) -> Sequence[str]:
        import asyncio  # noqa: PLC0415

        await asyncio.sleep(60)
        return []

    with pytest.raises(httpcore.ConnectTimeout):
        await GuardedBackend(LOOPBACK, resolver).connect_tcp("api.example", 80, timeout=0.05)


async def test_other_ways_of_writing_the_loopback_are_refused() -> None:
    """The system's resolver understands them; the check sees what it made of them."""
    for host in ("localhost", "127.1", "0x7f.1", "2130706433", "[::1]"):
        with pytest.raises(httpcore.ConnectError):
            await GuardedBackend(AddressRules()).connect_tcp(host, 80, timeout=60)

    assert ["127.0.0.1"] == list(await resolve("127.1", 80))


async def test_sockets_of_the_machine_are_refused() -> None:
    """Whatever their path."""
    with pytest.raises(ForbiddenAddressError):
        await GuardedBackend(LOOPBACK).connect_unix_socket("/run/docker.sock")
