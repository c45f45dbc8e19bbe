"""One connection to Redis carries many commands at once, and fails as a whole when it fails."""

from __future__ import annotations

import asyncio

import pytest

import services
from stb_core.errors import UsageError
from stb_server.cache.redis_connection import RedisGoneError, RedisLink, RedisRefusedError, check_url, connect
from virtual_server import eventually


async def test_replies_come_in_the_order_of_the_commands(redis_server: services.Redis) -> None:
    """A thousand commands of one turn, with values of all sizes, empty ones and none."""
    pipe = await connect(redis_server.url, 5)
    values = [b"x" * (n * 37 % 5000) for n in range(500)]

    puts = [pipe.call(b"SET", b"k%d" % n, value) for n, value in enumerate(values)]
    gets = [pipe.call(b"GET", b"k%d" % n) for n in range(501)]

    assert [b"OK"] * 500 == await asyncio.gather(*puts)
    assert [*values, None] == await asyncio.gather(*gets)
    pipe.close()


async def test_a_refusal_is_that_commands_alone(redis_server: services.Redis) -> None:
    """The commands around it succeed."""
    pipe = await connect(redis_server.url, 5)

    before, wrong, after = pipe.call(b"INCR", b"n"), pipe.call(b"NONSENSE"), pipe.call(b"INCR", b"n")

    assert (1, 2) == (await before, await after)
    with pytest.raises(RedisRefusedError, match="unknown command"):
        await wrong
    pipe.close()


async def test_when_redis_hangs_up_everything_under_way_fails(redis_server: services.Redis) -> None:
    """And whatever is asked for afterwards."""
    pipe = await connect(redis_server.url, 5)
    waiting = pipe.call(b"BLPOP", b"never", b"0")
    await asyncio.sleep(0.01)
    redis_server.kill()

    for reply in (waiting, pipe.call(b"GET", b"a")):
        with pytest.raises(RedisGoneError):
            await reply
    assert pipe.problem


async def test_a_database_and_a_password_can_be_in_the_url(redis_server: services.Redis) -> None:
    """Another database holds other keys; a wrong password is told from a server that is away."""
    other_url = redis_server.url.replace("/0", "/3")
    first, other = await connect(redis_server.url, 5), await connect(other_url, 5)
    await first.call(b"SET", b"a", b"1")
    found = await other.call(b"GET", b"a")
    await first.call(b"CONFIG", b"SET", b"requirepass", b"s3cret word")
    signed_in = await connect(redis_server.url.replace("//", "//:s3cret%20word@"), 5)

    assert found is None
    assert b"1" == await signed_in.call(b"GET", b"a")
    with pytest.raises(RedisGoneError, match=r"(?i)auth|password"):
        await connect(redis_server.url.replace("//", "//:wrong@"), 5)
    for pipe in (first, other, signed_in):
        pipe.close()


async def test_what_is_not_redis_is_noticed() -> None:
    """A server of another protocol is as good as none."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(RedisGoneError):
        await connect(f"redis://127.0.0.1:{port}/0", 5)
    server.close()


@pytest.mark.parametrize("url", ["", "localhost", "http://localhost", "redis://", "redis://host:port/0"])
def test_a_url_that_is_none(url: str) -> None:
    """It is refused with an example, before anything is connected to; it may hold a password."""
    with pytest.raises(UsageError, match=r"^This is not a valid Redis URL"):
        check_url(url)


async def test_a_link_comes_back_by_itself(redis_server: services.Redis) -> None:
    """Down at once, without anyone waiting; up again soon after Redis is."""
    link = RedisLink(redis_server.url, 30)
    await link.start()
    assert link.is_up

    redis_server.kill()
    await eventually(lambda: not link.is_up)
    started = asyncio.get_running_loop().time()
    with pytest.raises(RedisGoneError):
        await link.call(b"PING")
    waited = asyncio.get_running_loop().time() - started
    redis_server.start()
    await eventually(lambda: link.is_up)

    assert waited < 15, "less than the link's own patience"
    assert b"PONG" == await link.call(b"PING")
    await link.close()


async def test_a_link_that_is_too_slow_is_down(redis_server: services.Redis) -> None:
    """A command waits for the link's timeout, those after it not at all."""
    link = RedisLink(redis_server.url, 2.0)
    await link.start()
    redis_server.pause()
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(2):
        started = loop.time()
        with pytest.raises(RedisGoneError):
            await link.call(b"PING")
        times.append(loop.time() - started)
    redis_server.resume()
    await eventually(lambda: link.is_up)
    await link.close()

    assert times[0] > 1.5 > times[1]
