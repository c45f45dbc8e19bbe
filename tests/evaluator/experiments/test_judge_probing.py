"""Trying a judge: probes, anchors, consistency, length, cost."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, query_of, trajectory
from llm_server import Answer, LLMServer, text
from stb_core.store import open_store
from stb_core.values.verdicts import Status
from stb_evaluator.judges.judge import Case
from stb_evaluator.judges.rules import judge_by_rules
from stb_evaluator.judges.undisputed import load_undisputed
from stb_experiments.judge_order import count_swaps
from stb_experiments.judge_probes import count_flips, inject, length_correlation, pad

S, U, N, E = Status.SOLVED, Status.UNSURE, Status.UNSOLVED, Status.ERROR


def test_flips_are_counted_with_their_direction() -> None:
    """Unreadable verdicts make no pair."""
    flips = count_flips([N, N, S, U, S], [S, N, N, S, E])

    assert (flips.n, flips.flipped, flips.upward) == (4, 3, 2)
    assert count_flips([E], [S]).interval is None


def test_probes_change_the_clothes_and_nothing_else() -> None:
    """The answer is still there, the calls are the same, and so is the probe the next time."""
    made = trajectory(answer="It is 4217.")

    for change in (pad, inject):
        dressed = change(made)
        assert dressed.final_answer.startswith("It is 4217.")
        assert (dressed.steps, dressed.query) == (made.steps, made.query)
        assert change(made) == dressed != made


def test_length_goes_with_grades_or_not() -> None:
    """Spearman's correlation; nothing can be said where nothing varies."""
    assert length_correlation([1, 2, 3, 4], [N, N, S, S]) == pytest.approx(0.894, abs=0.001)
    assert length_correlation([1, 2], [S, S]) is None
    assert length_correlation([1, 2, 3], [S, E, E]) is None


def test_anchors_are_beyond_dispute() -> None:
    """Half are solved, and the judge by rules, which knows no meaning, agrees on those."""
    name, anchors = load_undisputed()

    assert (name, len(anchors)) == ("anchors-1", 12)
    assert [a.expected for a in anchors].count(S) == 6
    assert all(judge_by_rules(Case(a.trajectory)).status is S for a in anchors if a.expected is S)


@pytest.fixture(name="judged")
def _judged(sqlite_store_url: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> LLMServer:
    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        made = [
            trajectory(str(n), answer=f"It is {n}." if n % 2 else f"I am sorry about {n}.") for n in range(8)
        ]
        await make_run(store, made)
        await store.close()

    asyncio.run(fill())
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = steady
    return llm


def preference(body: dict[str, Any], better: str) -> Answer | None:
    """Which of two answers is better, if that is what is asked."""
    asked = (body.get("response_format") or {}).get("json_schema", {}).get("name")
    return text(json.dumps({"reason": "", "better": better})) if asked == "preference" else None


def shown(body: dict[str, Any]) -> list[str]:
    """The final answers of a pair, in the order in which they are shown."""
    said = body["messages"][-1]["content"]
    return [part.split("\n[")[0] for part in said.split("assistant, final answer]\n")[1::2]]


async def add_rival(url: str) -> None:
    """A second run, with other answers."""
    store = await open_store(url)
    made = [trajectory(str(n), answer=f"It may be {n}.") for n in range(8)]
    await make_run(store, made, run="other")
    await store.close()


def steady(body: dict[str, Any]) -> Answer:
    """Fails apologies, prefers other answers to them, and is moved by nothing else."""
    if pair := preference(body, "neither"):
        first, second = ("i am sorry" in answer.lower() for answer in shown(body))
        return pair if first == second else preference(body, "second" if first else "first") or pair
    said = body["messages"][-1]["content"].lower()
    bad = any(word in said for word in ("i am sorry", "web page of any bank", "which of them", "key is not"))
    return text(json.dumps({"reason": "", "answer_status": "unsolved" if bad else "solved"}))


def gullible(body: dict[str, Any]) -> Answer:
    """Does what an answer tells it to; of two answers it takes the first, unless the second is much longer."""
    if pair := preference(body, "first"):
        first, second = map(len, shown(body))
        return pair if second < 3 * first else preference(body, "second") or pair
    said = body["messages"][-1]["content"]
    if "solved" in said.split("begin final answer]")[-1].lower():
        return text(json.dumps({"reason": "", "answer_status": "solved"}))
    return steady(body)


def measures(ended: Any) -> dict[str, Any]:
    return {row["measure"]: row for row in ended.document["rows"]}


COMMAND = "experiment", "judge", "r", "--judge", "stub/any", "--rounds", "2", "--json"


def test_a_steady_judge_does_not_flip(run_stb, judged: LLMServer) -> None:
    """Neither for padding nor for orders; its rounds agree, and its cost is told."""
    found = measures(run_stb(*COMMAND))

    assert found["flipped_padded"]["value"] == found["flipped_injected"]["value"] == 0
    assert found["order_swapped_padded"]["value"] == 0
    assert found["first_preferred_padded"]["value"] == found["longer_preferred"]["value"] == 50
    assert found["flipped_injected"]["n"] == 8
    assert (found["unanimous"]["value"], found["fleiss_kappa"]["value"]) == (100, 1)
    assert (found["flipped_by_chance"]["value"], found["flipped_by_chance"]["n"]) == (0, 8)
    assert found["calls_per_verdict"]["value"] == 1
    assert found["tokens_per_verdict"]["value"] > 0


def test_a_gullible_judge_is_found_out(run_stb, judged: LLMServer) -> None:
    """All that it had failed flips in the answer's favour."""
    judged.rule = gullible

    found = measures(run_stb(*COMMAND))

    assert found["flipped_injected"]["value"] == 50
    assert found["flipped_injected"]["note"] == "4 in the answer's favour"
    assert found["flipped_padded"]["value"] == 0


def test_a_judge_that_looks_at_the_order_is_found_out(run_stb, judged: LLMServer) -> None:
    """It takes the first of two answers, of an answer and its padded form the longer; both are told apart."""
    judged.rule = gullible
    asyncio.run(add_rival(str(os.environ["STB_DATABASE_URL"])))

    found = measures(run_stb(*COMMAND, "--against", "other", "-o", "out"))

    assert (found["order_swapped"]["value"], found["order_swapped"]["n"]) == (100, 8)
    assert 60 < found["order_swapped"]["ci_low"] < 100
    assert found["order_swapped"]["note"].startswith("8 always for the first shown, 0 for the second")
    assert found["first_preferred"]["value"] == 100
    assert (found["order_swapped_padded"]["value"], found["longer_preferred"]["value"]) == (0, 100)
    page = Path("out/README.md").read_text()
    assert "Of two answers, the other order makes another better in 100.0 %." in page
    assert Path("out/measures.svg").read_text().startswith("<svg")
    assert len(Path("out/data.jsonl").read_text().splitlines()) == 16


def test_pairs_are_asked_for_once(run_stb, judged: LLMServer) -> None:
    """Only the anchors are asked for again."""
    run_stb(*COMMAND)
    asked = judged.count
    run_stb(*COMMAND)

    assert judged.count - asked == 12


def test_pairs_with_an_unreadable_verdict_are_left_out() -> None:
    """Solved and unsolved, or unsure twice, name the same answer; all else is a swap."""
    swaps = count_swaps([(S, N), (U, U), (S, S), (N, N), (S, U), (S, E), (None, N)])

    assert (swaps.n, swaps.swapped, swaps.to_first, swaps.to_second) == (5, 3, 1, 1)
    assert swaps.first == [0.5, 0.5, 1, 0, 0.75]
    assert swaps.one == [1, 0.5, 0.5, 0.5, 0.75]
    assert count_swaps([]).interval is None


def test_anchors_show_that_a_judge_has_changed(run_stb, judged: LLMServer) -> None:
    """They are asked anew every time; probes are not."""
    first = measures(run_stb(*COMMAND))
    asked = judged.count
    judged.rule = lambda _: text('{"reason": "", "answer_status": "solved"}')
    second = measures(run_stb(*COMMAND))

    assert judged.count - asked == 12
    assert first["anchors_moved"]["value"] == 0
    assert second["anchors_moved"]["value"] == 4
    assert second["anchors_right"]["value"] == 50
    assert second["anchors_moved"]["note"] == "4 differ from the first of 2 times"


def test_a_judge_that_is_not_fit_is_warned_of_first(run_stb, judged: LLMServer) -> None:
    """The anchors come first, in words and in rows; a judge that is fit gets no warning."""
    fit = run_stb(*COMMAND[:-1])
    judged.rule = lambda _: text('{"reason": "", "answer_status": "solved"}')
    unfit = run_stb("experiment", "judge", "r", "--judge", "stub/other")

    assert "WARNING" not in fit.out
    words = unfit.out[unfit.out.index("WARNING") :].splitlines()
    assert words[0].startswith("WARNING: stub/other answers 50 % of the anchors rightly")
    assert words[2] == "Of the answers whose grade is beyond dispute, it grades 50.0 % rightly."
    ended = run_stb("experiment", "judge", "r", "--judge", "stub/other", "--json")
    assert ended.document["rows"][0]["measure"] == "anchors_right"
    scored = run_stb("score", "r", "--judge", "stub/other", "--rounds", "1", "--json")
    assert scored.document["headline"][1].startswith("WARNING: stub/other answers 50 % of the anchors")


def test_recorded_verdicts_tell_what_they_tell(run_stb, real_data: Path) -> None:
    """Nobody is asked; agreement of rounds and the part of length are those of the log."""
    run_stb("import", real_data / "pass_rate_results" / "toolllama_sft_cot")

    ended = run_stb("experiment", "judge", "toolllama_sft_cot", "--judge", "recorded", "--json")

    found = measures(ended)
    assert ended.code == 0
    assert set(found) == {
        *("unanimous", "fleiss_kappa", "krippendorff_alpha", "length_correlation", "flipped_by_chance")
    }
    assert 80 < found["unanimous"]["value"] < 90


def test_a_panel_cannot_be_tried(run_stb, judged: LLMServer) -> None:
    """One judge at a time."""
    ended = run_stb("experiment", "judge", "r", "--judge", "stub/a,stub/b")

    assert ended.code == 2
    assert ended.err.startswith("stb: Only one judge can be measured at a time.")


def test_a_judge_without_a_model_is_examined(run_stb: Callable[..., Any], sqlite_store_url: str) -> None:
    """It grades every undisputed answer and every probe, also where no model is asked."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [trajectory(str(number)) for number in range(4)])
        await store.close()

    asyncio.run(fill())

    ended = run_stb("experiment", "judge", "r", "--judge", "rules", "--json")

    found = {row["measure"]: (row["value"], row["n"]) for row in ended.document["rows"]}
    assert (ended.code, ended.err) == (0, "")
    assert found["anchors_right"][1] == 12
    assert found["flipped_padded"] == (0.0, 4)


def test_an_unknown_query_can_be_asked_about_again(
    run_stb: Callable[..., Any], sqlite_store_url: str
) -> None:
    """The flag that the message names is one of this command."""

    async def fill(*, with_query: bool) -> None:
        store = await open_store(sqlite_store_url)
        answer = trajectory("1")
        if with_query:
            await store.runs.put_queries("r", [query_of(answer)])
        else:
            await store.datasets.create("d")
            await make_run(store, [answer])
        await store.close()

    asyncio.run(fill(with_query=False))
    first = run_stb("experiment", "judge", "r", "--judge", "rules")
    asyncio.run(fill(with_query=True))
    second = run_stb("experiment", "judge", "r", "--judge", "rules", "--retry-errors")

    assert (first.code, "--retry-errors" in first.err, second.code) == (1, True, 0)
