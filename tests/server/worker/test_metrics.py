"""The numbers add up over calls and over workers, in a form that Prometheus reads."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from stb_core.store import Store
from stb_server.worker.metrics import Numbers, RequestTimes, add_other_workers, exposition, publish_numbers
from stb_server.worker.options import ServerOptions
from virtual_server import put_weather, recorded, request, running


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values (in the order of their names), without the buckets."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def numbers(seconds: float) -> Numbers:
    times, made = RequestTimes(), Numbers()
    times.histogram("recorded", "memory", 200).observe(seconds)
    made.add_times(times)
    made.count("stb_writes", {("written",): 2})
    made.gauge("stb_workers", 1)
    return made


async def test_every_call_is_counted_by_what_became_of_it(sqlite_store: Store, sqlite_store_url: str) -> None:
    """By provenance, tier, status and error; look-ups by tier."""
    await put_weather(sqlite_store, recorded({}))
    async with running(ServerOptions(sqlite_store_url, "weather")) as server:
        for body in (request(), request(), request({"n": 1}), request("{"), {}):
            await server.call(body)
        found = samples((await server.client.get("/metrics")).text)

    calls = {labels[1:]: n for labels, n in found.items() if labels[0] == "stb_virtual_seconds_count"}
    assert {
        ("store", "", "recorded", "200"): 1,
        ("memory", "", "recorded", "200"): 1,
        ("miss", "miss", "miss", "200"): 1,
        ("miss", "unusable_input", "miss", "200"): 1,
        ("", "missing_name", "", "422"): 1,
    } == calls
    tiers = {labels[1]: n for labels, n in found.items() if labels[0] == "stb_cache_lookups_total"}
    assert {"memory": 1, "store": 1, "miss": 1} == tiers


def test_what_workers_left_is_added_up(tmp_path: Path) -> None:
    """Counts of all, those that have ended too; numbers of the moment of those that live."""
    publish_numbers(numbers(0.004), tmp_path)
    (tmp_path / f"{os.getpid()}.json").rename(tmp_path / f"{os.getppid()}.json")
    publish_numbers(numbers(20.0), tmp_path)
    (tmp_path / f"{os.getpid()}.json").rename(tmp_path / "999999999.json")

    found = samples(exposition(add_other_workers(numbers(100.0), tmp_path)).decode())

    assert 3 == found["stb_virtual_seconds_count", "memory", "", "recorded", "200"]
    assert 120.004 == found["stb_virtual_seconds_sum", "memory", "", "recorded", "200"]
    assert 6 == found["stb_writes_total", "written"]
    assert 2 == found["stb_workers",]


def test_a_damaged_file_is_left_out(tmp_path: Path) -> None:
    """Numbers of a worker that cannot be read are missing, and nothing fails."""
    (tmp_path / "1.json").write_text("{")

    found = samples(exposition(add_other_workers(numbers(1.0), tmp_path)).decode())

    assert 1 == found["stb_workers",]
