"""Other rooms get the rows of ``stb score`` and ``stb compare`` by entry point."""

from __future__ import annotations

from stb_core import plugins
from stb_core.store import Store
from stb_core.values.manifest import Manifest
from stb_core.values.trajectories import FINISH, Step, StopReason, Trajectory
from stb_core.values.verdicts import Status, Verdict
from stb_evaluator.reports import provided


async def put_run(store: Store, name: str, statuses: list[Status], judge: str = "j") -> None:
    """A run that answered as many queries as there are statuses, judged once."""
    finish = Step(function=FINISH, arguments='{"return_type":"give_answer","final_answer":"a"}')
    trajectories = [
        Trajectory(
            group="G1_tool",
            query_id=str(number),
            query=f"q{number}",
            agent="a",
            steps=(finish,),
            stop=StopReason.ANSWERED,
            final_answer="a",
        )
        for number in range(len(statuses))
    ]
    ids = [trajectory.query_id for trajectory in trajectories]
    await store.runs.create(name, Manifest(dataset="d", dataset_hash="0", agent="a"), {"G1_tool": ids})
    await store.runs.put_trajectories(name, trajectories)
    await store.verdicts.append(
        [
            Verdict(
                run=name,
                group="G1_tool",
                query_id=trajectory.query_id,
                judge=judge,
                rubric="r",
                round=0,
                status=status,
                answer_hash=trajectory.answer_hash,
            )
            for trajectory, status in zip(trajectories, statuses, strict=True)
        ]
    )


async def test_scores_come_by_every_judge(sqlite_store: Store) -> None:
    """Groups, macro and micro, in percent, with intervals."""
    await put_run(sqlite_store, "one", [Status.SOLVED, Status.UNSOLVED])

    rows = await provided.scores(sqlite_store, ["one"])

    assert [("G1_tool", 50.0), ("macro", 50.0), ("micro", 50.0)] == [(r["group"], r["value"]) for r in rows]
    assert {("j", "r", True)} == {(row["judge"], row["rubric"], row["complete"]) for row in rows}
    assert all(row["ci_low"] < 50 < row["ci_high"] for row in rows)


async def test_differences_come_by_the_judges_of_all(sqlite_store: Store) -> None:
    """A judge that looked at one run alone says nothing of a difference."""
    await put_run(sqlite_store, "one", [Status.SOLVED] * 6)
    await put_run(sqlite_store, "two", [Status.SOLVED] * 3 + [Status.UNSOLVED] * 3)
    await put_run(sqlite_store, "three", [Status.SOLVED] * 6, judge="another")

    rows = await provided.differences(sqlite_store, ["one", "two"])

    assert {("one", "two", 50.0)} == {(row["run"], row["run_b"], row["value"]) for row in rows}
    assert [] == await provided.differences(sqlite_store, ["one", "three"])


def test_the_providers_are_found() -> None:
    """By the names that other rooms know."""
    assert plugins.find_scores(plugins.SCORES) is provided.scores
    assert plugins.find_scores(plugins.DIFFERENCES) is provided.differences
    assert plugins.find_scores("nothing") is None


async def test_pictures_are_drawn_from_rows(sqlite_store: Store) -> None:
    """The forest and the matrix of a report, for a light ground and a dark one."""
    await put_run(sqlite_store, "one", [Status.SOLVED] * 3)
    await put_run(sqlite_store, "two $\\frac{<script>$", [Status.SOLVED, Status.UNSOLVED, Status.UNSOLVED])
    runs = [run.run for run in await sqlite_store.runs.all()]
    scores = await provided.scores(sqlite_store, runs)
    differences = await provided.differences(sqlite_store, runs)
    drawer = plugins.find_figure_drawer()
    assert drawer

    light, dark = drawer(scores, differences), drawer(scores, differences, dark=True)

    assert ["forest", "matrix"] == [figure.name for figure in light]
    assert ["forest"] == [figure.name for figure in drawer(scores, [])]
    assert all(figure.svg.startswith("<svg") and "<script" not in figure.svg for figure in (*light, *dark))
    assert light[0].svg != dark[0].svg
    assert light == drawer(scores, differences)


async def test_a_difference_says_which_places_its_runs_may_have(sqlite_store: Store) -> None:
    """Two runs that cannot be told apart may have either place; one of fewer queries has none."""
    for name, statuses in (
        ("one", [Status.SOLVED, Status.UNSOLVED, Status.SOLVED]),
        ("other", [Status.UNSOLVED, Status.SOLVED, Status.UNSOLVED]),
        ("few", [Status.SOLVED]),
    ):
        await put_run(sqlite_store, name, statuses)

    rows = [
        row
        for row in await provided.differences(sqlite_store, ["one", "other", "few"])
        if row["group"] == "macro"
    ]

    places = {row["run"]: row["place"] for row in rows} | {row["run_b"]: row["place_b"] for row in rows}
    assert {name: (row["rank_low"], row["rank_high"], row["unranked"]) for name, row in places.items()} == {
        "one": (1, 2, ""),
        "other": (1, 2, ""),
        "few": (None, None, "1 of 3 queries"),
    }
