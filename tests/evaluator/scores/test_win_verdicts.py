"""Comparing two runs for the win rate: what is asked, what is kept, what the rows say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from stb_core.llm.protocol import Reply, Request
from stb_core.llm.scripted import ScriptedModel
from stb_core.store import Store
from stb_core.values.verdicts import Status, Verdict
from stb_evaluator.judges.pairs import ModelPairJudge
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.judges.rubrics import CUT, cut_rubric, load_rubric
from stb_evaluator.scores.comparison import Side
from stb_evaluator.scores.pair_verdicts import ask_for_preferences
from stb_evaluator.scores.reference_rules import set_switches
from stb_evaluator.scores.run_reader import load_verdict_table
from stb_evaluator.scores.win_verdicts import WinComparison, load_win_comparison, win_rows


def shown_first(request: Request) -> str:
    text = str(request.messages[-1].content)
    return text.split("begin first assistant, final answer]\n")[1].split("\n[", maxsplit=1)[0]


def prefers_good(request: Request) -> Reply:
    """Prefers the answer that says good, wherever it stands; of two bad ones the first."""
    text = str(request.messages[-1].content)
    second = text.split("begin second assistant, final answer]\n")[1].split("\n[", maxsplit=1)[0]
    better = "first" if "good" in shown_first(request) or "good" not in second else "second"
    return Reply(content=json.dumps({"reason": "", "better": better}))


async def two_runs(
    store: Store, answers: dict[str, tuple[str, str, str, str]], *, brought: str = ""
) -> tuple[Side, Side]:
    """Runs a and b from id → (answer of a, its verdict, answer of b, its verdict); a bundle made ``brought``."""
    sides = []
    for name, place in (("a", 0), ("b", 2)):
        made = [trajectory(i, answer=row[place], query=f"Query {i}?") for i, row in answers.items()]
        run = await make_run(store, made, run=name, brought=name in brought)
        await store.verdicts.append(
            [
                Verdict(
                    run=name,
                    group="G1_tool",
                    query_id=t.query_id,
                    judge="j",
                    rubric="r",
                    round=0,
                    status=Status(answers[t.query_id][place + 1]),
                    answer_hash=t.answer_hash,
                )
                for t in made
            ]
        )
        sides.append(Side(run, await load_verdict_table(store, run, panel_of_one("j", "r"), rounds=1)))
    return sides[0], sides[1]


ANSWERS = {
    "1": ("good", "solved", "bad", "unsolved"),
    "2": ("bad", "unsolved", "good", "solved"),
    "3": ("good", "solved", "bad", "solved"),
    "4": ("same", "solved", "same", "solved"),
    "5": ("bad a", "unsolved", "bad b", "unsolved"),
}


def row(comparison: WinComparison, group: str = "G1_tool") -> dict[str, Any]:
    rows = win_rows(comparison, "faithful", judge="j", rubric="r")
    return next(r for r in rows if r["group"] == group)


async def test_only_what_is_open_is_asked_and_asked_once(store: Store) -> None:
    """Two queries in both orders; the same comparison again, either way round, asks nothing."""
    one, other = await two_runs(store, ANSWERS)
    model = ScriptedModel(prefers_good)
    judge = ModelPairJudge(model, load_rubric("sowr-1"))

    comparison = await load_win_comparison(store, one, other, rounds=1)
    tally = await ask_for_preferences(store, comparison, judge, connections=4)
    mirrored = await load_win_comparison(store, other, one, rounds=1)
    await ask_for_preferences(store, mirrored, judge, connections=4)

    found, back = row(comparison), row(mirrored)
    assert (tally.judged, len(model.requests)) == (4, 4)
    assert (found["wins"], found["ties"], found["losses"]) == (2, 2, 1)
    assert found["value"] == 60.0
    assert back["value"] == pytest.approx(40.0)
    assert (back["wins"], back["losses"]) == (1, 2)


async def test_the_rows_count_what_cannot_be_told(sqlite_store: Store) -> None:
    """A judge that fails leaves the query out, and the row is incomplete."""
    one, other = await two_runs(sqlite_store, ANSWERS)
    judge = ModelPairJudge(ScriptedModel(lambda _: Reply(content="hm")), load_rubric("sowr-1"))

    comparison = await load_win_comparison(sqlite_store, one, other, rounds=1)
    tally = await ask_for_preferences(sqlite_store, comparison, judge, connections=4)

    found = row(comparison)
    assert tally.errors == 4
    assert (found["n"], found["n_total"], found["n_error"], found["complete"]) == (3, 5, 2, False)


async def test_a_pass_verdict_that_failed_makes_a_rate_incomplete(sqlite_store: Store) -> None:
    """Even where a majority of the others decides; not where none is looked at."""
    one, other = await two_runs(sqlite_store, {"1": ANSWERS["1"], "2": ANSWERS["2"], "4": ANSWERS["4"]})
    failed = Verdict(
        run="a",
        group="G1_tool",
        query_id="1",
        judge="j",
        rubric="r",
        round=1,
        status=Status.ERROR,
        answer_hash=one.table.answers["G1_tool", "1", 0].answer_hash,
    )
    await sqlite_store.verdicts.append([failed])
    side = Side(one.run, await load_verdict_table(sqlite_store, one.run, panel_of_one("j", "r"), rounds=None))
    judge = ModelPairJudge(ScriptedModel(prefers_good), load_rubric("sowr-1"))

    ours = await load_win_comparison(sqlite_store, side, other, rounds=1)
    await ask_for_preferences(sqlite_store, ours, judge, connections=1)
    ignored = set_switches(["sowr.verdicts=ignored"])
    published = await load_win_comparison(sqlite_store, side, other, rounds=1, switches=ignored)
    await ask_for_preferences(sqlite_store, published, judge, connections=1)

    # One failed, and two answers have no verdict of the second round.
    found = row(ours, "micro")
    assert (found["n"], found["n_total"], found["n_error"], found["complete"]) == (3, 3, 3, False)
    assert (row(published)["n_error"], row(published)["complete"]) == (0, True)


async def test_what_cannot_be_told_for_want_of_a_pass_verdict_is_counted_once(sqlite_store: Store) -> None:
    """The judge of pairs was not asked, so it did not fail."""
    one, other = await two_runs(sqlite_store, {"1": ("good", "error", "bad", "unsolved")})
    judge = ModelPairJudge(ScriptedModel(prefers_good), load_rubric("sowr-1"))

    comparison = await load_win_comparison(sqlite_store, one, other, rounds=1)
    tally = await ask_for_preferences(sqlite_store, comparison, judge, connections=1)

    found = row(comparison)
    assert tally.judged == 0
    assert (found["n"], found["n_total"], found["n_error"], found["complete"]) == (0, 1, 1, False)


async def test_the_judge_sees_whole_answers_and_the_published_code_a_thousand_characters(
    sqlite_store: Store,
) -> None:
    """The end of a long answer decides only where it is shown; the verdicts are kept apart."""
    long = {"1": ("x" * 2_000 + " good", "solved", "x" * 2_000 + " bad", "solved")}
    one, other = await two_runs(sqlite_store, long)
    model = ScriptedModel(prefers_good)
    rubric = load_rubric("sowr-1")

    full = await load_win_comparison(sqlite_store, one, other, rounds=1)
    await ask_for_preferences(sqlite_store, full, ModelPairJudge(model, rubric), connections=1)
    switches = set_switches(["sowr.verdicts=used"])
    cut = await load_win_comparison(sqlite_store, one, other, rounds=1, switches=switches)
    await ask_for_preferences(sqlite_store, cut, ModelPairJudge(model, cut_rubric(rubric)), connections=1)

    assert row(full)["value"] == 100.0
    assert len(model.requests) == 3
    assert max(len(shown_first(r)) for r in model.requests[:2]) > 2_000
    assert len(shown_first(model.requests[2])) == CUT
    assert cut_rubric(rubric).hash != rubric.hash


async def test_ignored_pass_verdicts_are_never_looked_at(sqlite_store: Store) -> None:
    """A judge of pairs that likes the wrong answer overrules both pass verdicts."""

    def prefers_bad(request: Request) -> Reply:
        return Reply(
            content=json.dumps(
                {"reason": "", "better": "second" if "good" in shown_first(request) else "first"}
            )
        )

    one, other = await two_runs(sqlite_store, {"1": ANSWERS["1"]})
    judge = ModelPairJudge(ScriptedModel(prefers_bad), load_rubric("sowr-1"))

    ours = await load_win_comparison(sqlite_store, one, other, rounds=1)
    await ask_for_preferences(sqlite_store, ours, judge, connections=1)
    ignored = set_switches(["sowr.verdicts=ignored"])
    published = await load_win_comparison(sqlite_store, one, other, rounds=1, switches=ignored)
    await ask_for_preferences(sqlite_store, published, judge, connections=1)

    assert (row(ours)["value"], row(published)["value"]) == (100.0, 0.0)


@pytest.mark.parametrize(("brought", "value", "asked"), [("", 0.0, 0), ("b", 100.0, 2), ("ab", 0.0, 0)])
async def test_verdicts_on_pairs_that_a_bundle_brought_count_between_runs_of_bundles(
    sqlite_store: Store, brought: str, value: float, asked: int
) -> None:
    """Beside a run that was made here the judge is asked, once, and its verdicts are kept with that run."""
    one, other = await two_runs(sqlite_store, {"3": ANSWERS["3"]}, brought=brought)
    model = ScriptedModel(prefers_good)
    judge = ModelPairJudge(model, load_rubric("sowr-1"))
    mirrored = await load_win_comparison(sqlite_store, other, one, rounds=1)
    (pair,) = mirrored.pairs.values()
    log = [
        Verdict(
            run="b",
            group="G1_tool",
            query_id="3",
            metric="sowr",
            judge=judge.name,
            rubric=judge.rubric,
            round=0,
            status=Status.SOLVED if shown is pair else Status.UNSOLVED,
            answer_hash=shown.hash,
        )
        for shown in (pair, pair.swapped)
    ]
    await sqlite_store.verdicts.append(log)

    await ask_for_preferences(sqlite_store, mirrored, judge, connections=1)
    again = await load_win_comparison(sqlite_store, one, other, rounds=1)
    await ask_for_preferences(sqlite_store, again, judge, connections=1)

    assert (row(again)["value"], len(model.requests)) == (value, asked)
    assert len(await sqlite_store.verdicts.of_run("a", metric="sowr")) == asked


def test_the_published_preferences_come_out_of_their_votes(run_stb, real_data: Path) -> None:
    """CoT wins no query and DFS three of three; importing the votes twice adds none."""
    run_stb("import", real_data / "pass_rate_results_example", "--json")
    first = run_stb("import", real_data / "preference_results_example", "--json").document
    again = run_stb("import", real_data / "preference_results_example", "--json").document

    pair = "virtual_chatgpt_cot", "virtual_chatgpt_dfs"
    rows = run_stb("compare", *pair, "--metric", "sowr", "--block", "reference", "--json").document["rows"]

    assert [(v["queries"], v["votes"], v["new_votes"]) for v in (*first["votes"], *again["votes"])] == [
        (3, 9, 9),
        (3, 9, 0),
    ]
    found = next(r for r in rows if r["group"] == "micro")
    assert (found["value"], found["wins"], found["ties"], found["losses"]) == (0.0, 0, 0, 3)
    assert found["switches"]["sowr.verdicts"] == "ignored"


def test_votes_on_runs_that_are_not_here_are_refused(run_stb, real_data: Path) -> None:
    """One line that says what to import first."""
    ended = run_stb("import", real_data / "preference_results_example")

    assert ended.code == 2
    assert ended.err.startswith("stb: The votes are on answers of runs that are not in the store")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--block", "reference"), "stb: Differences are compared by the faithful rules only."),
        (("--metric", "sowr", "--switch", "sowr.order=one"), "stb: The faithful rules have no switches."),
        (
            ("--metric", "sowr", "--block", "reference", "--switch", "x=y"),
            "stb: There is no switch 'x'. There are: sopr.missing",
        ),
    ],
)
def test_switches_where_there_are_none_are_one_line(run_stb, args: tuple[str, ...], line: str) -> None:
    """With the exit code of bad usage."""
    ended = run_stb("compare", "a", "b", *args)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(line)
