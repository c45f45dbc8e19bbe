"""Pieces of work are claimed by one process at a time, and a result counts only under a claim that still holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from stb_core.store import Claim, Store, WorkPlace, schema
from stb_core.store.work import DONE, FAILED, LEASE_S, TRIAL
from stb_core.values import Status, StopReason
from stb_core.values.manifest import Manifest
from stb_core.values.trajectories import Trajectory
from stb_core.values.verdicts import Verdict

PLACE = WorkPlace("r", TRIAL)
T = schema.work.c


@pytest.fixture
async def items(store: Store) -> dict[str, int]:
    """Four pieces of a run, in this order."""
    await store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"G": ["1"]})
    items = {name: position for position, name in enumerate("dcba")}
    await put(store, items)
    return items


async def put(store: Store, items: dict[str, int], *left: str) -> None:
    async def still_left() -> list[str]:
        return list(left)

    await store.work.put(PLACE, items, still_left)


async def change(store: Store, **values: object) -> None:
    """All pieces get these values."""
    async with store.writing() as connection:
        await connection.execute(schema.work.update().values(**values))


def names(claims: list[Claim]) -> str:
    return "".join(claim.item for claim in claims)


def trajectory(query_id: str, stop: StopReason = StopReason.GAVE_UP) -> Trajectory:
    return Trajectory(group="G", query_id=query_id, query="?", agent="a", stop=stop)


@pytest.mark.usefixtures("items")
async def test_no_piece_is_claimed_twice(store: Store) -> None:
    """Those that come first are claimed first; however many ask at once, each gets others."""
    first = await store.work.claim(PLACE, "one", 2)
    both = await asyncio.gather(*(store.work.claim(PLACE, f"w{n}", 1) for n in range(4)))

    assert names(first) == "dc"
    assert sorted(map(names, both)) == ["", "", "a", "b"]


@pytest.mark.usefixtures("items")
async def test_named_pieces_are_claimed_alone(store: Store) -> None:
    """And those behind a position."""
    assert names(await store.work.claim(PLACE, "one", 9, among=["a", "c", "none"])) == "ca"
    assert names(await store.work.claim(PLACE, "one", 9, after=1)) == "b"


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize(("until", "is_free"), [(-1.0, True), (1e8, True), (LEASE_S - 1, False)])
async def test_a_claim_ends_with_its_lease(store: Store, until: float, is_free: bool) -> None:
    """By the clock of the database; one that ends later than any could was written by a clock that was ahead."""
    await store.work.claim(PLACE, "one", 4)
    await change(store, until=store.work._now + until)

    assert (names(await store.work.claim(PLACE, "two", 9)) == "dcba") is is_free


@pytest.mark.usefixtures("items")
async def test_a_renewed_claim_is_held_longer(store: Store) -> None:
    """Whoever has lost one is told which it still has."""
    mine = await store.work.claim(PLACE, "one", 2)
    await change(store, until=0.0)
    (lost,) = await store.work.claim(PLACE, "two", 1)

    still = await store.work.renew(mine)

    assert (lost.item, lost.fence, still) == ("d", 2, {"c"})
    assert "c" not in names(await store.work.claim(PLACE, "three", 9))


@pytest.mark.usefixtures("items")
async def test_a_late_result_is_dropped(store: Store) -> None:
    """A trajectory or verdict of a claim that another process has taken over is not written; others with it are."""
    mine = await store.work.claim(PLACE, "one", 2)
    await change(store, until=0.0)
    (taken,) = await store.work.claim(PLACE, "two", 1)
    verdicts = [
        Verdict(run="r", group="G", query_id=c.item, judge="j", rubric="r", round=0, status=Status.SOLVED)
        for c in mine
    ]

    judged = await store.verdicts.append_claimed(verdicts[:1], [mine[0].ended(DONE)])
    kept = await store.runs.put_trajectories(
        "r", [trajectory(c.item) for c in mine], [c.ended(DONE) for c in mine]
    )
    again = await store.runs.put_trajectories("r", [trajectory("c")], [mine[1].ended(DONE)])
    theirs = await store.runs.put_trajectories("r", [trajectory("d")], [taken.ended(DONE)])

    assert (judged, kept, again, theirs) == ([False], [False, True], [False], [True])
    assert [(one.query_id, one.attempt) for one in await store.runs.done("r")] == [("c", 0), ("d", 0)]
    assert await store.verdicts.of_run("r") == []


async def test_what_ended_is_opened_again_where_the_log_lacks_it(store: Store, items: dict[str, int]) -> None:
    """Once, by whoever sees it first: a piece that was claimed since is not."""
    ended = await store.work.claim(PLACE, "one", 3)
    await store.work.end([c.ended(FAILED if c.item == "d" else DONE) for c in ended])
    seen = await store.work.states(PLACE, items)

    await put(store, items, "d", "b")
    first = await store.work.claim(PLACE, "two", 9)
    await put(store, items, "d")

    assert {item: state for item, (state, _) in seen.items()} == {
        "d": FAILED,
        "c": DONE,
        "b": DONE,
        "a": "open",
    }
    assert names(first) == "dba"
    assert [claim.tries for claim in first] == [1, 1, 1]
    assert await store.work.claim(PLACE, "three", 9) == []


async def test_pieces_are_made_once(store: Store, items: dict[str, int]) -> None:
    """Any number of processes may do it while others work."""
    (claim, *_) = await store.work.claim(PLACE, "one", 1)
    await asyncio.gather(*(put(store, items | {"e": 9}, "d") for _ in range(4)))

    assert await store.work.left(PLACE) == {*items, "e"}
    assert await store.work.renew([claim]) == {"d"}


@pytest.mark.usefixtures("items")
async def test_given_back_is_no_try_and_killed_is_one(store: Store) -> None:
    """What was claimed a fourth time has ended three processes."""
    for _ in range(3):
        await store.work.give_back(await store.work.claim(PLACE, "stopped", 4))
    tries = []
    for number in range(4):
        claims = await store.work.claim(PLACE, f"killed{number}", 1)
        tries.append((claims[0].tries, claims[0].is_hopeless))
        await store.work.free_those_of([f"killed{number}"], PLACE)

    assert tries == [(1, False), (2, False), (3, False), (4, True)]


@pytest.mark.usefixtures("items")
async def test_a_claim_and_its_renewal_touch_no_index(store: Store) -> None:
    """On PostgreSQL both are updates within the page, so that the table does not grow with them."""
    if store.is_sqlite:
        pytest.skip("SQLite has no such updates")
    claims = await store.work.claim(PLACE, "one", 4)
    await store.work.renew(claims)
    counted = sa.text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'work'")
    flushed = sa.text("SELECT pg_stat_force_next_flush()")

    async with store.writing() as connection:
        await connection.execute(flushed)
    updates = (0, 0)
    while updates[0] < 8:  # statistics come when they come
        async with store.reading() as connection:
            updates = tuple((await connection.execute(counted)).one())
        await asyncio.sleep(0.05)

    assert updates == (8, 8)


@pytest.mark.usefixtures("items")
async def test_workers_are_known_while_they_live(store: Store) -> None:
    """Those that began first come first; what is dropped is counted with the order of the work."""
    await store.work.register(PLACE, "", "one", 4)
    await store.work.register(PLACE, "", "two", 8)
    await store.work.set_mode(PLACE, "", "paused")
    mode = await store.work.beat("one", 3, PLACE, "", late=2)
    workers = await store.work.workers(PLACE)
    await store.work.unregister("two", PLACE, "", late=1)

    assert mode == "paused"
    assert [(w.owner, w.slots, w.done, w.is_alive) for w in workers] == [
        ("one", 4, 3, True),
        ("two", 8, 0, True),
    ]
    assert [w.owner for w in await store.work.workers()] == ["one"]
    async with store.reading() as connection:
        assert await connection.scalar(sa.select(schema.work_orders.c.late)) == 3


@pytest.mark.usefixtures("items")
async def test_sqlite_looks_up_the_pieces_that_it_changes(store: Store) -> None:
    """It does not read all pieces of a run to renew or end the claims of a few."""
    if not store.is_sqlite:
        pytest.skip("PostgreSQL decides by its statistics")
    changes: list[tuple[str, tuple[object, ...]]] = []

    def note(*executed: Any) -> None:
        if "UPDATE work" in executed[2]:
            changes.append(executed[2:4])

    claims = await store.work.claim(PLACE, "one", 2)
    sa.event.listen(sa.Engine, "after_cursor_execute", note)
    try:
        await store.work.renew(claims)
        await store.work.end([claim.ended(DONE) for claim in claims])
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", note)

    assert len(changes) == 2
    async with store.reading() as connection:
        for statement, values in changes:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            reads = [row.detail for row in plan if row.detail.startswith(("SEARCH work", "SCAN work"))]
            assert len(reads) == 1
            assert reads[0].endswith("(run=? AND kind=? AND item=?)")
