"""Numbers about the server: each worker counts, and the numbers of all workers are added when asked for.

Each worker writes its numbers into a file of a common folder once a second and when it ends. The worker that is
asked adds up the files.
"""

from __future__ import annotations

import contextlib
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency buckets, in seconds."""

MetricLabels: TypeAlias = tuple[str, ...]


class Histogram:
    """How many requests took how long."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one request."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class RequestTimes:
    """Requests to ``/virtual`` by provenance, tier of the cache, status and error."""

    LABELS = ("provenance", "cache", "status", "error")

    def __init__(self) -> None:
        self.histograms: dict[tuple[str, str, int, str], Histogram] = defaultdict(Histogram)

    def histogram(self, provenance: str, tier: str, status: int, error: str = "") -> Histogram:
        """The histogram of requests of one kind."""
        return self.histograms[provenance, tier, status, error]


@dataclass
class Numbers:
    """The numbers of one worker, or of several added up; series by metric and label values."""

    times: dict[MetricLabels, list[float]] = field(default_factory=dict)
    """Sum in seconds, then the count of each bucket."""
    counters: dict[str, dict[MetricLabels, float]] = field(default_factory=dict)
    gauges: dict[str, dict[MetricLabels, float]] = field(default_factory=dict)

    def count(self, metric: str, values: Mapping[MetricLabels, float]) -> None:
        """Add to counters."""
        _add(self.counters.setdefault(metric, {}), values)

    def gauge(self, metric: str, value: float) -> None:
        """Set a number that goes up and down; the values of several workers are added."""
        self.gauges[metric] = {(): value}

    def add_times(self, times: RequestTimes) -> None:
        """Set the latencies."""
        for labels, histogram in times.histograms.items():
            self.times[tuple(map(str, labels))] = [histogram.sum_s, *histogram.buckets]

    def add(self, other: Numbers, *, alive: bool) -> None:
        """Add the numbers of another worker; if it has ended, only its counters and latencies."""
        for labels, values in other.times.items():
            mine = self.times.setdefault(labels, [0.0] * len(values))
            self.times[labels] = [a + b for a, b in zip(mine, values, strict=True)]
        for metric, series in other.counters.items():
            self.count(metric, series)
        if alive:
            for metric, series in other.gauges.items():
                _add(self.gauges.setdefault(metric, {}), series)

    def to_json(self) -> bytes:
        """JSON for a file; labels become lists."""
        return orjson.dumps(
            {
                "times": list(self.times.items()),
                "counters": [[metric, list(series.items())] for metric, series in self.counters.items()],
                "gauges": [[metric, list(series.items())] for metric, series in self.gauges.items()],
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Numbers:
        """Read what ``to_json`` wrote."""
        document: Any = orjson.loads(text)

        def series(items: Iterable[Any]) -> dict[MetricLabels, Any]:
            return {tuple(labels): value for labels, value in items}

        return cls(
            times=series(document["times"]),
            counters={metric: series(items) for metric, items in document["counters"]},
            gauges={metric: series(items) for metric, items in document["gauges"]},
        )


def _add(totals: dict[MetricLabels, float], values: Mapping[MetricLabels, float]) -> None:
    for labels, value in values.items():
        totals[labels] = totals.get(labels, 0) + value


def publish_numbers(numbers: Numbers, folder: Path) -> None:
    """Write this worker's numbers where the others read them, completely or not at all."""
    place = folder / f"{os.getpid()}.json"
    with contextlib.suppress(OSError):  # a request must not fail because of numbers
        place.with_suffix(".part").write_bytes(numbers.to_json())
        place.with_suffix(".part").replace(place)


def add_other_workers(numbers: Numbers, folder: Path) -> Numbers:
    """The numbers of this worker plus those of the others."""
    for place in sorted(folder.glob("*.json")):
        pid = int(place.stem)
        if pid != os.getpid():
            with contextlib.suppress(OSError, ValueError, KeyError):
                numbers.add(Numbers.from_json(place.read_bytes()), alive=_is_alive(pid))
    return numbers


def read_numbers(folder: Path) -> Numbers:
    """The numbers that all workers left when they ended."""
    numbers = Numbers()
    for place in sorted(folder.glob("*.json")):
        numbers.add(Numbers.from_json(place.read_bytes()), alive=False)
    return numbers


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # the process exists, but belongs to another user
        return True
    return True


_COUNTERS: dict[str, tuple[str, MetricLabels]] = {
    "stb_cache_lookups": ("Look-ups of recorded answers, by the tier that had them, or miss.", ("tier",)),
    "stb_redis_events": ("What happened between this server and Redis.", ("event",)),
    "stb_flights": ("Requests for far layers: led, joined one under way, waited for a process.", ("role",)),
    "stb_writes": ("Pieces of work for the store: written or failed.", ("outcome",)),
    "stb_write_transactions": ("Transactions that held them.", ()),
    "stb_misses_lost": ("Misses that could not be written to the ledger.", ()),
    "stb_upstream_calls": ("Calls of real APIs.", ("host", "outcome")),
    "stb_simulator_replies": (
        "What replies of the simulator's model were like: strict, each repair, each fault.",
        ("kind",),
    ),
    "stb_simulator_tokens": ("Tokens that the simulator's model read and wrote.", ("kind",)),
    "stb_simulator_cost_usd": ("What they cost, where the price is known.", ()),
    "stb_client_calls": (
        "Calls of clients with a name of their own, by what became of them.",
        ("client", "outcome"),
    ),
    "stb_misses_over_quota": (
        "Misses left out because their client had brought as many as it may.",
        ("client",),
    ),
    "stb_rate_limited": ("Calls refused because their client made too many.", ()),
    "stb_faults": ("Injected faults.", ("fault",)),
}
_GAUGES = {
    "stb_workers": "Worker processes that serve.",
    "stb_queue_misses": "Missed calls that wait to be written to the ledger.",
    "stb_queue_writes": "Pieces of work that wait for the next transaction.",
    "stb_flights_under_way": "Shared flights that have not landed.",
    "stb_memory_bytes": "Bytes of answers in memory, over all workers.",
    "stb_memory_entries": "Answers in memory, over all workers.",
    "stb_redis_up": "Workers whose link to Redis works.",
    "stb_store_readable": "Workers whose last read of the store worked.",
    "stb_store_writable": "Workers whose last trial write to the store worked.",
}


class _Collector:
    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        times = HistogramMetricFamily(
            "stb_virtual_seconds", "Time to answer a call.", labels=RequestTimes.LABELS
        )
        for labels, (sum_s, *buckets) in sorted(self._numbers.times.items()):
            total, cumulated = 0.0, []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), buckets, strict=True):
                total += count
                cumulated.append((bound, total))
            times.add_metric(labels, cumulated, sum_s)
        yield times
        for name, (text, label_names) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=label_names)
            for labels, value in sorted(self._numbers.counters.get(name, {}).items()):
                counter.add_metric(labels, value)
            yield counter
        for name, text in _GAUGES.items():
            for value in self._numbers.gauges.get(name, {}).values():
                yield GaugeMetricFamily(name, text, value)


def exposition(numbers: Numbers) -> bytes:
    """The numbers in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(numbers))
    return generate_latest(registry)
