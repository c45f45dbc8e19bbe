"""Collects the metrics of a worker from its resources."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from stb_server.simulators import ModelBacked
from stb_server.worker import MetricLabels, Numbers, Worker, add_other_workers, publish_numbers

_INTERVAL_S = 1.0


def collect_numbers(worker: Worker) -> Numbers:
    """The numbers of this worker, and of its siblings where there are any; leaves its own for them."""
    numbers = own_numbers(worker)
    if (folder := worker.options.metrics_folder) is None:
        return numbers
    publish_numbers(numbers, folder)
    return add_other_workers(numbers, folder)


async def publish_forever(worker: Worker) -> None:
    """Leave this worker's numbers for its siblings at once, and once a second until cancelled."""
    while folder := worker.options.metrics_folder:
        publish_numbers(own_numbers(worker), folder)
        await asyncio.sleep(_INTERVAL_S)


def publish_last(worker: Worker) -> None:
    """Leave the numbers of a worker that is closed."""
    if folder := worker.options.metrics_folder:
        publish_numbers(own_numbers(worker), folder)


def own_numbers(worker: Worker) -> Numbers:
    """The numbers of this worker alone."""
    numbers, resources = Numbers(), worker.resources
    numbers.add_times(worker.times)
    # Most answers from memory bypass the tiers, so they are counted by their latencies.
    in_memory = sum(sum(values[1:]) for labels, values in numbers.times.items() if labels[1] == "memory")
    looked_up = {**resources.tiers.counts, "memory": in_memory}
    numbers.count("stb_cache_lookups", _labelled(looked_up))
    if resources.redis and resources.tiers.redis:
        numbers.count(
            "stb_redis_events", _labelled({**resources.redis.counts, **resources.tiers.redis.counts})
        )
        numbers.gauge("stb_redis_up", resources.redis.is_up)
    flights: Counter[str] = Counter()
    for pipeline in worker.pipelines.values():
        flights.update(pipeline.flights.counts)
    numbers.count("stb_flights", _labelled(flights))
    numbers.count(
        "stb_writes", _labelled({"written": resources.writer.written, "failed": resources.writer.failed})
    )
    numbers.count("stb_write_transactions", {(): resources.writer.transactions})
    numbers.count("stb_misses_lost", {(): resources.ledger.lost})
    if resources.upstream:
        numbers.count(
            "stb_upstream_calls", {tuple(labels): n for labels, n in resources.upstream.counts.items()}
        )
    if isinstance(resources.simulator, ModelBacked):
        replies, usage = resources.simulator.counts.kinds, resources.simulator.counts.usage
        tokens = {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens}
        numbers.count("stb_simulator_replies", _labelled(replies))
        numbers.count("stb_simulator_tokens", _labelled(tokens))
        numbers.count("stb_simulator_cost_usd", {(): usage.cost_usd or 0.0})
    refused = worker.clients.refused + (worker.rate_limit.refused if worker.rate_limit else 0)
    if worker.rate_limit or refused:
        numbers.count("stb_rate_limited", {(): refused})
    numbers.count("stb_client_calls", {tuple(labels): n for labels, n in worker.clients.counts.items()})
    numbers.count("stb_misses_over_quota", _labelled(resources.ledger.over_quota))
    if worker.faults:
        found = worker.faults.counts.report()["faults"]
        numbers.count("stb_faults", _labelled({fault: row["calls"] for fault, row in found.items()}))
    numbers.gauge("stb_workers", 1)
    numbers.gauge("stb_store_readable", not resources.health.read_problem)
    numbers.gauge("stb_store_writable", not resources.health.write_problem)
    numbers.gauge("stb_queue_misses", resources.ledger.queued)
    numbers.gauge("stb_queue_writes", resources.writer.queued)
    numbers.gauge("stb_flights_under_way", sum(len(p.flights) for p in worker.pipelines.values()))
    numbers.gauge("stb_memory_bytes", worker.memory.size_bytes)
    numbers.gauge("stb_memory_entries", len(worker.memory))
    return numbers


def _labelled(values: Mapping[str, float]) -> dict[MetricLabels, float]:
    return {(name,): value for name, value in values.items()}
