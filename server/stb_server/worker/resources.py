"""What a worker holds open while it serves: opened in order, and closed in the opposite order."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from stb_core.store import Store, open_store
from stb_core.values import clock
from stb_server.cache import MemoryCache, RedisCache, RedisLink, StoreWriter, Tiers, open_reader
from stb_server.calls import Layer
from stb_server.pipeline import EpisodeLedger, Locks, MissLedger, RedisLocks, StoreLocks
from stb_server.simulators import Context, open_simulator
from stb_server.upstream.configuration import read_upstream_config
from stb_server.upstream.layer import Upstream
from stb_server.worker.clients import Clients
from stb_server.worker.options import ServerOptions
from stb_server.worker.store_health import StoreHealth


@dataclass(frozen=True)
class Resources:
    """What is open while a worker serves."""

    store: Store
    tiers: Tiers
    redis: RedisLink | None
    ledger: MissLedger
    writer: StoreWriter
    locks: Locks
    episodes: EpisodeLedger
    health: StoreHealth
    upstream: Upstream | None
    simulator: Layer | None


async def open_resources(
    options: ServerOptions, memory: MemoryCache, clients: Clients, stack: AsyncExitStack
) -> Resources:
    """Open everything that a worker needs.

    Args:
        options: the server's settings.
        memory: the nearest tier of the cache.
        clients: what each client may do.
        stack: closes everything: queues are written before the store is closed.

    Raises:
        StoreError: the store cannot be opened.
        UsageError: the configuration of a real API or of the simulator is wrong.
    """
    store = await open_store(options.database_url)
    stack.push_async_callback(store.close)
    reader = await open_reader(store)
    stack.push_async_callback(reader.close)
    redis = await _open_redis(options, stack)
    writer = StoreWriter(store, options.write_timeout_s)
    stack.push_async_callback(writer.close)
    ledger = MissLedger(store, options.flush_interval_s, clients.quotas)
    ledger.start()
    stack.push_async_callback(ledger.close)
    health = StoreHealth(store, options.health_interval_s)
    health.start()
    stack.push_async_callback(health.close)
    upstream = await _open_upstream(options, store, stack)
    simulator = await _open_simulator(options, store, stack)
    locks: Locks = StoreLocks(store, writer)
    return Resources(
        store=store,
        tiers=Tiers(memory, RedisCache(redis) if redis else None, reader),
        redis=redis,
        ledger=ledger,
        writer=writer,
        locks=RedisLocks(redis, locks) if redis else locks,
        episodes=EpisodeLedger(store, writer),
        health=health,
        upstream=upstream,
        simulator=simulator,
    )


async def _open_redis(options: ServerOptions, stack: AsyncExitStack) -> RedisLink | None:
    if not options.redis_url:
        return None
    link = RedisLink(options.redis_url, options.redis_timeout_s)
    await link.start()
    stack.push_async_callback(link.close)
    return link


async def _open_upstream(options: ServerOptions, store: Store, stack: AsyncExitStack) -> Upstream | None:
    if options.upstream is None:
        return None
    config = read_upstream_config(options.upstream)
    return await stack.enter_async_context(Upstream(config, options.environment, store.datasets.api))


async def _open_simulator(options: ServerOptions, store: Store, stack: AsyncExitStack) -> Layer | None:
    if options.simulator is None:
        return None
    context = Context(store, recorded_before=clock.now())
    return await stack.enter_async_context(open_simulator(options.simulator, context))
