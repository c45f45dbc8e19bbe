"""A score says where the answers to the agent's calls came from, and when it measures something else than the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from stb_core.store import Store, open_store
from stb_core.values import FINISH, Node, Provenance, Status, Step, StopReason, Trajectory, Verdict
from stb_evaluator.scores.headlines import percent_in_words, run_headlines
from stb_evaluator.scores.run_reader import RunReader
from stb_evaluator.scores.trial_facts import KINDS

TEMPLATES = (
    "TEMPLATES: less than 1 % of the answers to calls of r were made by rule from the API's document:"
    " they hold no facts."
)
END = Step(function=FINISH, arguments='{"return_type":"give_answer","final_answer":"It is 4217."}')


def call(provenance: str | None, **more: Any) -> Step:
    return Step(
        function="f_for_t",
        arguments="{}",
        observation='{"error": "", "response": {"value": 4217}}',
        **({"category": "C", "tool": "t", "api": "f"} | more),
        provenance=provenance,
    )


def answered(query_id: str, *provenances: str | None, group: str = "G1_tool", trial: int = 0) -> Trajectory:
    """An answer whose calls were answered so."""
    steps = [*(call(one) for one in provenances), END]
    return trajectory(query_id, steps=steps, group=group, trial=trial)


async def judge(store: Store, run: str, trajectories: Sequence[Trajectory], statuses: str) -> None:
    """One recorded verdict on each: s solved, n unsolved."""
    await store.verdicts.append(
        [
            Verdict(
                run=run,
                group=one.group,
                query_id=one.query_id,
                trial=one.trial,
                judge="recorded",
                rubric="recorded",
                round=0,
                status=Status.SOLVED if letter == "s" else Status.UNSOLVED,
                answer_hash=one.answer_hash,
            )
            for one, letter in zip(trajectories, statuses, strict=True)
        ]
    )


def filled(url: str, trajectories: Sequence[Trajectory], statuses: str = "", **run: Any) -> None:
    """A run ``r`` with these answers, and verdicts on them."""

    async def work() -> None:
        store = await open_store(url)
        try:
            await make_run(store, trajectories, **run)
            await judge(store, "r", trajectories, statuses or "s" * len(trajectories))
        finally:
            await store.close()

    asyncio.run(work())


def row_of(rows: Sequence[dict[str, Any]], block: str, group: str) -> dict[str, Any]:
    return next(row for row in rows if (row["block"], row["group"]) == (block, group))


def scored(run_stb: Any, *flags: str) -> Any:
    return run_stb("score", "r", "--judge", "recorded", *flags)


def test_the_shares_of_all_kinds_are_in_every_row(run_stb, sqlite_store_url: str) -> None:
    """An answer that a model made earlier is a simulated one; the shares add up to 100."""
    every = [one.value for one in Provenance]
    filled(sqlite_store_url, [answered("1", *every), answered("2", "recorded")])

    rows = run_stb("report", "r", "--judge", "recorded", "-o", "r.json", "--json").document["rows"]

    row = row_of(rows, "faithful", "micro")
    assert (row["n_calls"], row["calls_by_provenance"]) == (8, {**dict.fromkeys(every, 1), "recorded": 2})
    assert (row["recorded_percent"], row["simulated_percent"], row["miss_percent"]) == (25.0, 25.0, 12.5)
    assert sum(row[f"{kind}_percent"] for kind in KINDS) == pytest.approx(100)
    assert row_of(rows, "reference", "G1_tool")["miss_percent"] == 12.5


async def test_calls_of_abandoned_branches_count(sqlite_store: Store) -> None:
    """What a search saw on the way decided what it answered."""
    nodes = (Node(parent=None, step=call("template")), Node(parent=None, step=call("recorded")))
    search = answered("1", "recorded").model_copy(update={"tree": (*nodes, Node(parent=1, step=END))})
    run = await make_run(sqlite_store, [search])

    for keep in (False, True):
        trials = await RunReader(sqlite_store, run, keep_trajectories=keep).scored_trials()
        assert trials["G1_tool", "1", 0].calls == {"template": 1, "recorded": 1}


async def test_only_calls_that_an_api_may_have_answered_count(sqlite_store: Store) -> None:
    """Unknown functions and unreadable arguments asked nobody; an import does not state what answered."""
    asked_nobody = [
        call(None, hallucinated=True, error="no such function", category=None),
        call(None, error="not JSON"),
    ]
    ours = trajectory("1", steps=[*asked_nobody, call("recorded"), END])
    imported = trajectory("2", steps=[call(None, error="quota"), END]).model_copy(update={"imported": {}})
    run = await make_run(sqlite_store, [ours, imported])

    trials = await RunReader(sqlite_store, run).scored_trials()

    assert [trial.calls for trial in trials.values()] == [{"recorded": 1}, {"not stated": 1}]


@pytest.mark.parametrize(
    ("provenances", "line"),
    [
        (["recorded"] * 20, ""),
        (["recorded"] * 20 + ["miss"], ""),
        (
            ["recorded"] * 19 + ["miss"],
            "MISSES: 5 % of the calls of r had no recording: this measures the recordings more than the agent.",
        ),
        (
            ["recorded"] * 999 + ["template"],
            TEMPLATES,
        ),
        (["simulated", "recorded-simulated", "live", "fault"], ""),
        ([None] * 5, ""),
    ],
)
async def test_a_headline_from_five_percent_of_misses_or_any_template(
    sqlite_store: Store, provenances: list[str | None], line: str
) -> None:
    """4.8 % of misses are none; one template in a thousand is one."""
    run = await make_run(sqlite_store, [answered("1", *provenances)])

    assert await run_headlines(RunReader(sqlite_store, run)) == ([line] if line else [])


async def test_trials_that_do_not_count_make_no_headline(sqlite_store: Store) -> None:
    """A trial lost to infrastructure, and an answer that the run was not asked for."""
    lost = trajectory("2", steps=[call("miss")], stop=StopReason.INFRASTRUCTURE)
    extra = answered("3", "template")
    run = await make_run(
        sqlite_store, [answered("1", "recorded"), lost, extra], expected={"G1_tool": ["1", "2"]}
    )

    assert await run_headlines(RunReader(sqlite_store, run)) == []


def test_a_part_is_never_called_nothing_or_all() -> None:
    """Shares near the ends are said in words."""
    assert [percent_in_words(one) for one in (0, 0.3, 89.4, 99.6, 100)] == [
        *("0 %", "less than 1 %", "89 %", "more than 99 %", "100 %")
    ]


def test_score_compare_and_report_say_it(run_stb, sqlite_store_url: str, tmp_path: Any) -> None:
    """The same sentence above each of them."""
    line = (
        "MISSES: 89 % of the calls of r had no recording: this measures the recordings more than the agent."
    )
    answers = [answered("1", *["miss"] * 8, "recorded")]
    filled(sqlite_store_url, answers)

    async def another() -> None:
        store = await open_store(sqlite_store_url)
        try:
            await make_run(store, [answered("1", "recorded")], run="good")
            await judge(store, "good", [answered("1", "recorded")], "s")
        finally:
            await store.close()

    asyncio.run(another())

    said = [
        scored(run_stb, "--json").document["headline"],
        run_stb("compare", "r", "good", "--judge", "recorded", "--json").document["headline"],
        run_stb("report", "r", "--judge", "recorded", "-o", "r.md", "--json").document["headline"],
    ]

    assert all(line in lines for lines in said)
    assert f"- {line}" in (tmp_path / "r.md").read_text()
    assert line in scored(run_stb).out


def test_hermetic_fails_at_anything_but_recordings(run_stb, sqlite_store_url: str) -> None:
    """It names how many calls and which kinds; a miss is no recording either."""
    filled(sqlite_store_url, [answered("1", "recorded", "template", "miss"), answered("2", "miss")])

    plain, hermetic = scored(run_stb, "--json"), scored(run_stb, "--hermetic", "--json")

    line = "NOT HERMETIC: 3 of the 4 calls of r were not answered by recordings: 2 miss, 1 template."
    assert (plain.code, hermetic.code) == (0, 1)
    assert line in hermetic.document["headline"]
    assert line not in plain.document["headline"]
    assert plain.document["rows"] == hermetic.document["rows"]


def test_hermetic_passes_recordings_alone(run_stb, sqlite_store_url: str) -> None:
    """And a run without a call."""
    filled(sqlite_store_url, [answered("1", "recorded", "recorded"), answered("2")])

    assert scored(run_stb, "--hermetic").code == 0


@pytest.mark.parametrize("kind", [one for one in (*Provenance, None) if one != Provenance.RECORDED])
def test_hermetic_fails_at_every_other_kind(run_stb, sqlite_store_url: str, kind: str | None) -> None:
    """Also where nobody knows what answered."""
    filled(sqlite_store_url, [answered("1", kind)])

    assert scored(run_stb, "--hermetic").code == 1


def test_trials_without_made_up_answers_have_a_score_of_their_own(run_stb, sqlite_store_url: str) -> None:
    """Of each group over the queries that have such a trial; ``macro`` over the groups that have such queries."""
    answers = [
        answered("1", "recorded"),
        answered("2", "simulated"),
        answered("3", "recorded-simulated", "live"),
        answered("4", "miss"),
        answered("5", "template", group="G2_category"),
    ]
    filled(sqlite_store_url, answers, "sssnn")

    ended = scored(run_stb, "--json")
    report = run_stb("report", "r", "--judge", "recorded", "-o", "r.csv", "--json")

    rows = ended.document["rows"]
    assert row_of(rows, "faithful", "G1_tool")["value"] == 75.0
    mine = {row["group"]: row for row in rows if row["block"] == "unsimulated"}
    assert {name: (row["value"], row["n"], row["n_total"]) for name, row in mine.items()} == {
        "G1_tool": (50.0, 2, 4),
        "macro": (50.0, 2, 5),
        "micro": (50.0, 2, 5),
    }
    assert (mine["G1_tool"]["n_left_out"], mine["micro"]["n_left_out"]) == (2, 3)
    assert all(row["complete"] for row in mine.values())
    assert (ended.code, report.code) == (0, 0)


def test_one_trial_of_a_query_may_count_without_another(run_stb, sqlite_store_url: str) -> None:
    """Two trials, one of them answered by a model: the query has the score of the other."""
    answers = [answered("1", "recorded"), answered("1", "simulated", trial=1)]
    filled(sqlite_store_url, answers, "sn", trials=2)

    rows = scored(run_stb, "--json").document["rows"]

    assert row_of(rows, "faithful", "micro")["value"] == 50.0
    assert row_of(rows, "unsimulated", "micro")["value"] == 100.0


def test_a_run_without_made_up_answers_has_no_further_rows(run_stb, sqlite_store_url: str) -> None:
    """They would be those of the faithful block."""
    filled(sqlite_store_url, [answered("1", "recorded", "miss")])

    assert {row["block"] for row in scored(run_stb, "--json").document["rows"]} == {"faithful", "reference"}


def test_the_tables_show_the_kinds_that_occur(run_stb, sqlite_store_url: str, tmp_path: Any) -> None:
    """Recordings and misses always; the CSV file has a column for each kind."""
    filled(sqlite_store_url, [answered("1", "recorded", "live", "live", "live")])

    out = scored(run_stb).out
    for name in ("r.csv", "r.md"):
        run_stb("report", "r", "--judge", "recorded", "-o", name)

    heads = next(line for line in out.splitlines() if "provenance of answers" in line)
    assert [word for word in ("recorded", "live", "miss", "simulated", "fault") if word in heads] == [
        *("recorded", "live", "miss")
    ]
    assert "75.0" in out
    assert {f"{kind}_percent" for kind in KINDS} <= set(
        (tmp_path / "r.csv").read_text().splitlines()[0].split(",")
    )
    assert "| r | 4 | 25.0 | 75.0 | 0.0 |" in (tmp_path / "r.md").read_text()
