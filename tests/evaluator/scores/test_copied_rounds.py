"""``--copy-rounds``: a judge that repeats itself is asked once, and its copies are told from verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evaluator_makers import make_run, on_store, trajectory
from llm_server import LLMServer, text
from stb_core.store import Store
from stb_core.values.verdicts import SOPR, Verdict
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.scores.run_reader import RunReader
from stb_evaluator.scores.verdict_table import without_copies

GOOD = '{"reason": "so it is", "answer_status": "solved"}'
CONFIG = """\
evaluator_name: ours
prompt_template: template.txt
completions_kwargs:
  temperature: 0.7
  functions:
  - {name: check_answer_status, description: d, parameters: {type: object, properties: {}}}
"""


async def six_answers(store: Store) -> None:
    """Six answers, and one that needs no judge."""
    await make_run(store, [*(trajectory(str(n)) for n in range(6)), trajectory("7", answer=" ")])


@pytest.fixture
def stub(llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> LLMServer:
    """The provider ``stub``, which finds everything solved."""
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = lambda _: text(GOOD)
    return llm


def verdicts(url: str) -> list[Verdict]:
    """The log of the run."""

    async def read(store: Store) -> list[Verdict]:
        return await store.verdicts.of_run("r", metric=SOPR)

    return list(on_store(url, read))


def total(ended: Any) -> dict[str, Any]:
    """The row of the whole run in the faithful block."""
    return next(r for r in ended.document["rows"] if (r["group"], r["block"]) == ("micro", "faithful"))


def test_each_answer_is_asked_about_once(run_stb: Any, sqlite_store_url: str, stub: LLMServer) -> None:
    """The other rounds are copies: marked, at no cost, and told before the score, which stays the same."""
    on_store(sqlite_store_url, six_answers)
    command = ("score", "--judge", "stub/any", "--copy-rounds", "--json")

    forecast = run_stb(*command, "--dry-run")
    first = run_stb(*command)
    asked = stub.count
    again = run_stb(*command)

    assert 6 == forecast.document["rows"][0]["verdicts"]
    assert (0, 6, 6) == (first.code, asked, stub.count)
    assert first.out == again.out
    row = total(first)
    assert (3, 12, True) == (row["rounds"], row["copied_verdicts"], row["complete"])
    [line] = [line for line in first.document["headline"] if line.startswith("COPIED ROUNDS")]
    assert "12 verdicts of stub/any on r" in line
    copies = [one for one in verdicts(sqlite_store_url) if one.is_copy]
    assert [0] * 12 == [one.usage.model_calls for one in copies]
    assert {(1, 0), (2, 0)} == {(one.round, (one.details or {})["copy_of_round"]) for one in copies}
    assert "round 2, a copy of round 0: not asked" in run_stb("show", "r/1").out


def test_a_failed_round_is_not_copied(run_stb: Any, sqlite_store_url: str, stub: LLMServer) -> None:
    """Asked again, it is; then a further round is asked for where no copy is wanted."""
    on_store(sqlite_store_url, six_answers)
    stub.answer(*(text("What?") for _ in range(3)))
    command = ("score", "--judge", "stub/any", "--no-anchors", "--max-connections", 1, "--json")

    broken = run_stb(*command, "--copy-rounds")
    mended = run_stb(*command, "--copy-rounds", "--retry-errors")
    asked = stub.count
    more = run_stb(*command, "--rounds", 4)

    assert [1, 0, 0] == [broken.code, mended.code, more.code]
    assert (10, 12) == (total(broken)["copied_verdicts"], total(mended)["copied_verdicts"])
    assert 6 == stub.count - asked


def test_copies_say_nothing_about_agreement(run_stb: Any, sqlite_store_url: str, stub: LLMServer) -> None:
    """A table without them has only the rounds for which the judge was asked."""
    on_store(sqlite_store_url, six_answers)
    run_stb("score", "--judge", "stub/any", "--copy-rounds", "--json")
    rubric = verdicts(sqlite_store_url)[0].rubric

    async def rounds(store: Store) -> tuple[int, int]:
        reader = RunReader(store, await store.runs.get("r"))
        table = await reader.verdict_table(panel_of_one("stub/any", rubric), rounds=None)
        return table.n_rounds, without_copies(table).n_rounds

    assert (3, 1) == on_store(sqlite_store_url, rounds)


def test_a_judge_that_draws_its_words_has_no_copies(
    run_stb: Any, sqlite_store_url: str, stub: LLMServer, tmp_path: Path
) -> None:
    """At a temperature above zero the rounds differ."""
    on_store(sqlite_store_url, six_answers)
    (tmp_path / "config.yaml").write_text(CONFIG)
    words = "<function><name>check_answer_status</name><description>{query}{answer}</description></function>"
    (tmp_path / "template.txt").write_text(words)

    refused = run_stb("score", "--judge", "stub/any", "--evaluator", tmp_path, "--copy-rounds")

    assert (2, 0) == (refused.code, stub.count)
    assert "temperature 0.7" in refused.err


def test_a_judge_that_repeats_itself_is_pointed_out(
    run_stb: Any, sqlite_store_url: str, stub: LLMServer
) -> None:
    """After it was paid for three times."""
    on_store(sqlite_store_url, six_answers)

    told = run_stb("score", "--judge", "stub/any")

    assert "the very same reply in every round. With --copy-rounds" in told.err
