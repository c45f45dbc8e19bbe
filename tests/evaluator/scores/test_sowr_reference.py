"""The win rate of the reference block is what the published evaluator computes from the same answers.

The recorded results in ``sowr_reference`` were computed by the published code with a judge that goes by the
text of the final answer alone; ``same_judge`` does the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from conftest import clean_environment
from llm_server import Answer, LLMServer, call
from preloaded_stb import start_stb
from stb_core.settings import Settings
from stb_core.store import open_store
from stb_evaluator.judges.opening import open_judges
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.scores.comparison import Side
from stb_evaluator.scores.pair_verdicts import CHECKS, ask_for_preferences
from stb_evaluator.scores.reference_rules import PUBLISHED
from stb_evaluator.scores.run_reader import load_verdict_table
from stb_evaluator.scores.win_rate import decide_round
from stb_evaluator.scores.win_verdicts import load_win_comparison

ROUNDS = 3
CONFIG = """
evaluator_name: words of our own
prompt_template: template.txt
completions_kwargs:
  functions:
    - name: check_answer_status
      parameters: &answer
        type: object
        properties: {answer_status: {type: string, enum: [Unsure, Unsolved, Solved]}}
        required: [answer_status]
    - name: parse_answer_status
      parameters: *answer
    - name: select_better_answer
      parameters: {type: object, properties: {index: {type: number}}, required: [index]}
"""
TEMPLATE = """
<function><name>check_answer_status</name><description>{query} : {answer}</description></function>
<function><name>parse_answer_status</name><description>{query} : {answer}</description></function>
<function><name>select_better_answer</name><description>{query} Answer_0: {answer_0} Answer_1: {answer_1}</description></function>
"""
_FINAL = re.compile(r"final_answer\W+(?:return_type\W+give_answer\W+final_answer\W+)?([a-z ]{12,40})")


def digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def final_answer(text: str) -> str:
    found = _FINAL.search(text)
    return found[1] if found else ""


def same_judge(body: dict[str, Any]) -> Answer:
    """The verdict of the judge by whom the recorded results were computed."""
    name, text = body["tool_choice"]["function"]["name"], body["messages"][0]["content"]
    if name == "select_better_answer":
        first, second = map(final_answer, text.split("Answer_1:", 1))
        return call(name, index=0 if digest(first) >= digest(second) else 1)
    return call(name, answer_status=["Unsolved", "Solved"][digest("s" + final_answer(text)) % 2])


def functions_of(requests: list[dict[str, Any]]) -> Counter[str]:
    return Counter(body["tool_choice"]["function"]["name"] for body in requests)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """An evaluator folder that asks what the published one asks, in words of our own."""
    made = tmp_path / "evaluator"
    made.mkdir()
    (made / "config.yaml").write_text(CONFIG)
    (made / "template.txt").write_text(TEMPLATE)
    return made


@pytest.fixture(name="imported")
def _imported(
    run_stb: Callable[..., Any], real_data: Path, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three systems of the recorded comparison, and the same judge."""
    for system in ("ourcot", "ourscripted", "refdfs"):
        run_stb("import", real_data / "sowr_reference" / system, "--json")
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = same_judge


def compare(*pair: str, folder: Path) -> list[object]:
    """The command that compares two of the systems by the published rules."""
    rules = "--metric", "sowr", "--block", "reference", "--pair-rounds", ROUNDS
    return ["compare", *pair, *judged_by(folder), *rules, "--json"]


def judged_by(folder: Path) -> tuple[object, ...]:
    return "--judge", "stub/any", "--evaluator", folder, "--rounds", 1


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(("system", "rate"), [("ourscripted", 500 / 12), ("refdfs", 50.0)])
def test_the_win_rate_is_that_of_the_published_code(
    run_stb: Callable[..., Any], folder: Path, llm: LLMServer, system: str, rate: float
) -> None:
    """And the same command again asks nothing."""
    rows = run_stb(*compare(system, "ourcot", folder=folder)).document["rows"]
    before = llm.count
    again = run_stb(*compare(system, "ourcot", folder=folder)).document["rows"]

    row = next(row for row in rows if row["group"] == "micro")
    assert (row["value"], row["n"], row["complete"]) == (pytest.approx(rate), 12, True)
    assert row["switches"]["sowr.verdicts"] == "rejudged"
    assert (again, llm.count) == (rows, before)


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("system", ["ourscripted", "refdfs"])
def test_every_round_goes_to_whom_the_published_code_gave_it(
    sqlite_store_url: str, real_data: Path, folder: Path, llm: LLMServer, system: str
) -> None:
    """Query by query, each answer judged anew in each round, and compared only where both are alike."""
    path = real_data / "sowr_reference" / "preferences" / f"G1_instruction_ourcot_{system}.json"
    recorded = json.loads(path.read_text())

    async def rounds_won() -> dict[str, tuple[float, float]]:
        store = await open_store(sqlite_store_url)
        settings = Settings(sqlite_store_url, {}, {"STUB_BASE_URL": llm.url})
        async with open_judges("stub/any", settings, connections=4, quiet=True, evaluator=folder) as judges:
            (judge,) = judges.members
            pairs, checker = judge.of_pairs(cut=True), judge.of_answers_in_pairs(cut=True)
            runs = [await store.runs.get(name) for name in (system, "ourcot")]
            sides = [
                Side(run, await load_verdict_table(store, run, panel_of_one("", ""), rounds=1))
                for run in runs
            ]
            comparison = await load_win_comparison(store, *sides, rounds=ROUNDS, switches=PUBLISHED)
            await ask_for_preferences(store, comparison, pairs, checker=checker, connections=4)
            assert pairs
            log = await store.verdicts.of_run(system, metric="sowr")
        await store.close()
        preferences = {(verdict.answer_hash, verdict.round): verdict.status for verdict in log}
        found = {}
        for (_, query_id, _), pair in comparison.pairs.items():
            won = [
                decide_round(pair, number, preferences, PUBLISHED, comparison.checks)
                for number in range(ROUNDS)
            ]
            found[query_id] = (sum(won), ROUNDS - sum(won))  # type: ignore[arg-type]
        return found

    found = asyncio.run(rounds_won())

    assert found == {query_id: (row[system], row["ourcot"]) for query_id, row in recorded.items()}
    alike = functions_of(llm.requests)["select_better_answer"]
    assert functions_of(llm.requests)["check_answer_status"] <= 12 * 2 * ROUNDS
    assert 0 < alike < 12 * ROUNDS


@pytest.mark.usefixtures("imported")
def test_answers_are_judged_anew_by_their_first_thousand_characters(
    run_stb: Callable[..., Any], folder: Path, llm: LLMServer
) -> None:
    """The pass verdicts see the whole answers, and stand apart."""
    run_stb("score", "ourcot", "ourscripted", *judged_by(folder))
    whole = max(len(body["messages"][0]["content"]) for body in llm.requests)
    before = llm.count

    run_stb(*compare("ourscripted", "ourcot", folder=folder))

    asked = llm.requests[before:]
    prompts = [body["messages"][0]["content"] for body in asked if "check_answer_status" in str(body)]
    answers = [prompt.rpartition(" : ")[2] for prompt in prompts]
    assert max(map(len, answers)) == 1_000 < whole
    assert functions_of(asked)["check_answer_status"] == len(prompts) > 12 * ROUNDS
    judges = run_stb("show", "ourscripted", "--json").document["judges"]
    assert any(f"({CHECKS} x{ROUNDS})" in judge for judge in judges)
    assert any("(sopr x1)" in judge for judge in judges)


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("killed_after", [15, 60])
def test_a_comparison_that_is_killed_pays_nothing_twice(
    run_stb: Callable[..., Any], sqlite_store_url: str, folder: Path, llm: LLMServer, killed_after: int
) -> None:
    """SIGKILL while answers are judged anew; at most what was in flight is asked again."""
    connections = 4
    command = [
        *map(str, compare("refdfs", "ourcot", folder=folder)),
        *("--max-connections", str(connections)),
    ]
    run_stb("score", "refdfs", "ourcot", *judged_by(folder))
    judged, before = llm.paid, llm.count
    llm.behaviour.latency_s = 0.05
    with start_stb(
        command,
        env=clean_environment(STB_DATABASE_URL=sqlite_store_url, STUB_BASE_URL=llm.url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        while llm.paid - judged < killed_after and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    llm.behaviour.latency_s = 0.0

    ended = run_stb(*command)

    row = next(row for row in ended.document["rows"] if row["group"] == "micro")
    total = len({json.dumps([body["messages"], body.get("seed")]) for body in llm.requests[before:]})
    assert (ended.code, row["value"], row["complete"]) == (0, 50.0, True)
    assert killed_after < total <= llm.paid - judged <= total + connections + 2
