"""Trying a judge: probes, anchors, consistency, length, cost."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from evaluator_makers import make_run, trajectory
from llm_server import Answer, LLMServer, text
from stb_core.store import open_store
from stb_core.verdicts import Status
from stb_evaluator.judge import Case
from stb_evaluator.probes import count_flips, inject, length_correlation, load_anchors, pad
from stb_evaluator.rules import judge_by_rules

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
    name, anchors = load_anchors()

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


def steady(body: dict[str, Any]) -> Answer:
    """Fails apologies, and is moved by nothing else."""
    said = body["messages"][-1]["content"].lower()
    bad = any(word in said for word in ("i am sorry", "web page of any bank", "which of them", "key is not"))
    return text(json.dumps({"reason": "", "answer_status": "unsolved" if bad else "solved"}))


def gullible(body: dict[str, Any]) -> Answer:
    """Does what an answer tells it to."""
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
    assert found["flipped_injected"]["n"] == 8
    assert (found["unanimous"]["value"], found["fleiss_kappa"]["value"]) == (100, 1)
    assert found["calls_per_verdict"]["value"] == 1
    assert found["tokens_per_verdict"]["value"] > 0


def test_a_gullible_judge_is_found_out(run_stb, judged: LLMServer) -> None:
    """All that it had failed flips in the answer's favour."""
    judged.rule = gullible

    found = measures(run_stb(*COMMAND))

    assert found["flipped_injected"]["value"] == 50
    assert found["flipped_injected"]["note"] == "4 in the answer's favour"
    assert found["flipped_padded"]["value"] == 0


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


def test_recorded_verdicts_cannot_be_tried(run_stb, judged: LLMServer) -> None:
    """There is nobody to ask."""
    ended = run_stb("experiment", "judge", "r", "--judge", "recorded")

    assert ended.code == 2
    assert ended.err.startswith("stb: One judge that can be asked is needed.")
