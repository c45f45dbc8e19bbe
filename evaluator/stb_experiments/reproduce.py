"""``reproduce``: the same run several times, each in new processes, with a new store and other settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from stb_core.values import DEFAULT_MODE
from stb_experiments.benches import BenchMaker
from stb_experiments.evidence import PARTS, Evidence, compare_evidence, gather_evidence, macro_score
from stb_experiments.output import ExperimentRow, Result, describe_original

TIME_ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago")
LOCALES = ("C", "C.UTF-8", "POSIX")
LIMITS = (
    "The agents are scripts. The variation of a language model would show here as the fault of agent or judge.",
    "All repetitions were done on one machine, with one version of Python and of every library.",
)


@dataclass(frozen=True)
class Setting:
    """The surroundings of one repetition: its store, hash seed, time zone and locale."""

    repetition: int
    store: str
    hash_seed: int
    time_zone: str
    locale: str

    @property
    def variables(self) -> dict[str, str]:
        """Its environment variables."""
        return {"PYTHONHASHSEED": str(self.hash_seed), "TZ": self.time_zone, "LC_ALL": self.locale}


def settings_of(k: int, *, postgres: bool) -> Iterator[Setting]:
    """K different settings; with ``postgres``, every second one uses PostgreSQL."""
    for number in range(k):
        yield Setting(
            repetition=number + 1,
            store="postgresql" if postgres and number % 2 else "sqlite",
            hash_seed=number,
            time_zone=TIME_ZONES[number % len(TIME_ZONES)],
            locale=LOCALES[number % len(LOCALES)],
        )


async def reproduce_run(
    maker: BenchMaker,
    *,
    k: int,
    postgres_url: str = "",
    mode: str = DEFAULT_MODE.value,
    jobs: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Result:
    """Do the same run k times, and compare every byte of each with the first.

    Args:
        maker: of the dataset and the agents.
        k: repetitions.
        postgres_url: server on which every second repetition is stored; "" for SQLite alone.
        mode: cache mode of the servers.
        jobs: concurrent repetitions.
        advance: called after each repetition.

    Raises:
        StbError: a step failed.
    """
    turns = asyncio.Semaphore(jobs)
    settings = list(settings_of(k, postgres=bool(postgres_url)))
    firsts: dict[str, Evidence] = {}

    async def repeat(setting: Setting) -> list[ExperimentRow]:
        async with turns:
            url = postgres_url if setting.store == "postgresql" else ""
            found = await _once(maker, setting, url, mode)
            advance()
            # The first repetition ends before the others begin, so only its evidence is kept.
            return [
                _row(agent, setting, firsts.setdefault(agent, here), here) for agent, here in found.items()
            ]

    rows = await repeat(settings[0])
    tasks = [asyncio.create_task(repeat(setting)) for setting in settings[1:]]
    try:
        rows += [row for found in await asyncio.gather(*tasks) for row in found]
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
    return _result(maker, sorted(rows, key=lambda row: (row["agent"], row["repetition"])), k, mode)


async def _once(maker: BenchMaker, setting: Setting, postgres_url: str, mode: str) -> dict[str, Evidence]:
    name = f"repetition-{setting.repetition}"
    found: dict[str, Evidence] = {}
    async with maker.bench(name, variables=setting.variables, postgres_url=postgres_url) as bench:
        for agent in maker.plan.agents:
            async with bench.serving("--mode", mode) as url:
                run = await bench.solve(agent, url)
            found[agent] = await gather_evidence(bench.database_url, run, await bench.judge(run))
    return found


def _row(agent: str, setting: Setting, first: Evidence, here: Evidence) -> ExperimentRow:
    difference = compare_evidence(first, here)
    return {
        "agent": agent,
        "repetition": setting.repetition,
        "store": setting.store,
        "hash_seed": setting.hash_seed,
        "time_zone": setting.time_zone,
        "locale": setting.locale,
        **{f"n_{part}": len(here.parts[part]) for part in PARTS[1:]},
        "bytes": sum(here.size(part) for part in PARTS),
        **{f"differing_{part}": difference.entries[part] for part in PARTS},
        "differing_bytes": difference.total,
        "first_difference": difference.first,
        "fault": difference.fault,
        "score": macro_score(here),
    }


def _result(maker: BenchMaker, rows: list[ExperimentRow], k: int, mode: str) -> Result:
    differing = sum(row["differing_bytes"] for row in rows)
    compared = sum(row["bytes"] for row in rows)
    databases = sorted({row["store"] for row in rows})
    finding = (
        f"{k} repetitions of the same run in {mode} mode, each with a server, an agent and a judge in processes"
        f" of their own and with a store of its own ({', '.join(databases)}): {differing} differing bytes in"
        f" {compared} bytes of manifests, trajectories (without measurements of time), calls, verdicts and"
        " scores."
    )
    return Result(
        name="reproduce",
        title="The same run again",
        rows=rows,
        tables={
            "": (
                *("agent", "repetition", "store", "hash_seed:hash seed", "time_zone:time zone", "locale"),
                *("n_trajectories:trajectories", "n_calls:calls", "n_verdicts:verdicts", "bytes"),
                *("differing_bytes:differing bytes", "fault", "first_difference:first difference"),
            )
        },
        settings={
            **describe_original(maker.original),
            **maker.plan.document(),
            "mode": mode,
            "k": k,
            "stores": databases,
        },
        passed=differing == 0,
        says=(finding,),
        limits=LIMITS,
        commands=maker.commands,
    )
