"""What the parts of a worker have counted, gathered for its metrics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from stb_server.simulators.model_simulators import ModelSimulator
from stb_server.worker.metrics import Labels, Numbers, leave, of_all_workers
from stb_server.worker.worker import Service

_INTERVAL_S = 1.0


def numbers_of(service: Service) -> Numbers:
    """The numbers of this worker, and of its siblings where there are any; leaves its own for them."""
    numbers = own_numbers(service)
    if (folder := service.options.metrics_folder) is None:
        return numbers
    leave(numbers, folder)
    return of_all_workers(numbers, folder)


async def leave_forever(service: Service) -> None:
    """Leave this worker's numbers for its siblings at once, once a second, and when cancelled."""
    folder = service.options.metrics_folder
    try:
        while folder:
            leave(own_numbers(service), folder)
            await asyncio.sleep(_INTERVAL_S)
    finally:
        if folder:
            leave(own_numbers(service), folder)


def own_numbers(service: Service) -> Numbers:
    """The numbers of this worker alone."""
    numbers, parts = Numbers(), service.parts
    numbers.add_times(service.times)
    # Answers from memory mostly go past the tiers: they are counted by their latencies.
    in_memory = sum(sum(values[1:]) for labels, values in numbers.times.items() if labels[1] == "memory")
    looked_up = {**parts.tiers.counts, "memory": in_memory}
    numbers.count("stb_cache_lookups", _labelled(looked_up))
    if parts.redis and parts.tiers.redis:
        numbers.count("stb_redis_events", _labelled({**parts.redis.counts, **parts.tiers.redis.counts}))
        numbers.gauge("stb_redis_up", parts.redis.is_up)
    flights: Counter[str] = Counter()
    for pipeline in parts.pipelines.values():
        flights.update(pipeline.flights.counts)
    numbers.count("stb_flights", _labelled(flights))
    numbers.count("stb_writes", _labelled({"written": parts.writer.written, "failed": parts.writer.failed}))
    numbers.count("stb_write_transactions", {(): parts.writer.transactions})
    numbers.count("stb_misses_lost", {(): parts.ledger.lost})
    if parts.upstream:
        numbers.count("stb_upstream_calls", {tuple(labels): n for labels, n in parts.upstream.counts.items()})
    if isinstance(parts.simulator, ModelSimulator):
        replies, usage = parts.simulator.counts.kinds, parts.simulator.counts.usage
        tokens = {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens}
        numbers.count("stb_simulator_replies", _labelled(replies))
        numbers.count("stb_simulator_tokens", _labelled(tokens))
        numbers.count("stb_simulator_cost_usd", {(): usage.cost_usd or 0.0})
    if service.rate_limit:
        numbers.count("stb_rate_limited", {(): service.rate_limit.refused})
    if service.faults:
        found = service.faults.counts.report()["faults"]
        numbers.count("stb_faults", _labelled({fault: row["calls"] for fault, row in found.items()}))
    numbers.gauge("stb_workers", 1)
    numbers.gauge("stb_queue_misses", parts.ledger.queued)
    numbers.gauge("stb_queue_writes", parts.writer.queued)
    numbers.gauge("stb_flights_under_way", sum(len(p.flights) for p in parts.pipelines.values()))
    numbers.gauge("stb_memory_bytes", service.memory.size_bytes)
    numbers.gauge("stb_memory_entries", len(service.memory))
    return numbers


def _labelled(values: Mapping[str, float]) -> dict[Labels, float]:
    return {(name,): value for name, value in values.items()}
