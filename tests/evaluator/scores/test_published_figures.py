"""The reference block has the figures that the published evaluator has on the same answers.

The expected figures, verdicts and hashes of prompts were found by running it: ``make_published_figures.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_server import Answer, Json, LLMServer, text
from published_cases import (
    BETTER,
    GROUP,
    SOLVABLE,
    Case,
    by_prompt,
    by_query,
    cases,
    figures,
    frame_of,
    hash_of_prompt,
    is_left_to_chance,
    prompt_of,
    raw_folders,
    short_hash,
    verdict_record,
    write_converted,
    write_evaluator,
)
from stb_core.store import open_store
from stb_core.values.queries import Query
from stb_evaluator.formats import published_answer
from stb_evaluator.formats.records import AnswerRecord
from stb_evaluator.formats.sources import read_records, read_source

FOUND = figures()
RunStb = Callable[..., Any]


@pytest.fixture(name="judge")
def _judge(tmp_path: Path, llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """The options that name the judge: the same folder and the same rules."""
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    folder = write_evaluator(tmp_path / "evaluator")
    return "--judge", "stub/any", "--evaluator", folder, "--max-connections", 1


@pytest.fixture(name="start")
def _start(
    run_stb: RunStb, real_data: Path, tmp_path: Path, sqlite_store_url: str, llm: LLMServer
) -> Callable[[str], Case]:
    """Imports the answers of a case and the dataset that they belong to."""

    async def make_dataset(case: Case) -> None:
        texts = {name: one["query"] for records in case.systems.values() for name, one in records.items()}
        queries = [Query(query_id=name, group=GROUP, text=texts.get(name, "?"), apis=()) for name in case.ids]
        store = await open_store(sqlite_store_url)
        dataset = await store.datasets.create("asked")
        async with store.writing() as connection:
            await store.datasets.put_queries(connection, dataset.id, queries)
        await store.close()

    def start(name: str) -> Case:
        case = cases(real_data)[name]
        asyncio.run(make_dataset(case))
        write_converted(case, tmp_path / "converted")
        assert not run_stb("import", tmp_path / "converted", "--dataset", "asked", "--json").document[
            "skipped"
        ]
        llm.rule = case.judge()
        return case

    return start


def reference_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = (row for row in rows if row["block"] == "reference" and row["group"] == GROUP)
    return row


def asked_for(found: dict[str, Any]) -> set[str]:
    """The prompts of the published code but for those whose replies change nothing."""
    return {one for one in found["prompts"] if not one.startswith(SOLVABLE)}


@pytest.mark.parametrize(
    "name", ["pass", "pass, published examples", "pass, cut messages", "rounds", "missing", "ids"]
)
def test_pass_rates_verdicts_and_prompts_are_the_same(
    run_stb: RunStb,
    start: Callable[[str], Case],
    judge: tuple[object, ...],
    llm: LLMServer,
    tmp_path: Path,
    name: str,
) -> None:
    """Round by round, by a judge who goes by every byte of its prompt; and no other prompt is sent."""
    case, found = start(name), FOUND[name]

    for system, expected in found["systems"].items():
        scored = run_stb("score", system, *judge, "--rounds", case.rounds, "--no-anchors", "--json")
        row = reference_row(scored.document["rows"])
        run_stb("export", system, "--format", "toolbench", "-o", tmp_path / "out")
        exported = tmp_path / "out" / "pass_rate_results" / system / f"{GROUP}_{system}.json"
        verdicts = {one: record["is_solved"] for one, record in json.loads(exported.read_text()).items()}

        assert (round(row["value"], 1), round(row["std_rounds"], 1)) == (expected["sopr"], expected["std"])
        assert {one: verdicts[one] for one in expected["verdicts"]} == expected["verdicts"]

    assert {hash_of_prompt(body) for body in llm.requests} == asked_for(found)
    for body in llm.requests:
        assert frame_of(body) == found["frames"][body["tool_choice"]["function"]["name"]]


@pytest.mark.parametrize("name", ["win", "win, examples", "win, missing", "win, ties", "win, majority"])
def test_win_rates_and_prompts_are_the_same(
    run_stb: RunStb, start: Callable[[str], Case], judge: tuple[object, ...], llm: LLMServer, name: str
) -> None:
    """Whichever answers are missing, and however many rounds end in a tie."""
    case, found = start(name), FOUND[name]
    reference, candidate = case.systems
    rules = "--metric", "sowr", "--block", "reference", "--pair-rounds", case.rounds

    run_stb("score", candidate, reference, *judge)  # a comparison asks for these verdicts, too
    before = llm.count

    compared = run_stb("compare", candidate, reference, *judge, *rules, "--json")

    row, asked = reference_row(compared.document["rows"]), llm.requests[before:]
    signs = Counter((ours > theirs) - (ours < theirs) for ours, theirs in found["votes"].values())
    assert (row["wins"], row["ties"], row["losses"]) == (signs[1], signs[0], signs[-1])
    assert row["value"] == pytest.approx(100 * signs[1] / len(case.ids))
    if name == "win, missing":  # where the published code ends with an error after its votes
        assert "KeyError" in found["win"]
    else:
        assert row["value"] == pytest.approx(found["win"])
    assert {hash_of_prompt(body) for body in asked} == asked_for(found)
    for body in asked:
        assert frame_of(body) == found["frames"][body["tool_choice"]["function"]["name"]]


def test_a_pair_is_shown_once_in_a_round_in_an_order_left_to_chance(
    run_stb: RunStb, start: Callable[[str], Case], judge: tuple[object, ...], llm: LLMServer
) -> None:
    """By a judge who always prefers the first, so that the votes tell the order."""
    case, found = start("win, order"), FOUND["win, order"]
    rules = "--metric", "sowr", "--block", "reference", "--pair-rounds", case.rounds

    run_stb("compare", "refdfs", "ourcot", *judge, *rules, "--json")

    shown = Counter(json.dumps(body["messages"]) for body in llm.requests if "answer_status" not in str(body))
    theirs = [votes for votes, _ in found["votes"].values()]
    assert sum(shown.values()) == found["functions"][BETTER] == len(case.ids) * case.rounds
    assert len(shown) == 2 * len(case.ids)  # each pair in both orders
    for votes in (list(shown.values()), theirs):
        assert max(votes) < case.rounds
        assert len(set(votes)) > 1


def test_identical_answers_are_left_to_chance(
    run_stb: RunStb, start: Callable[[str], Case], judge: tuple[object, ...], llm: LLMServer
) -> None:
    """No judge compares them. The published code tosses its coin in every round, ours falls once."""
    case, found = start("win, identical"), FOUND["win, identical"]
    rules = "--metric", "sowr", "--block", "reference", "--pair-rounds", 3

    run_stb("score", "same", "ourcot", *judge)
    before = llm.count

    compared = run_stb("compare", "same", "ourcot", *judge, *rules, "--json")

    row = reference_row(compared.document["rows"])
    assert BETTER not in found["functions"]
    assert llm.count == before
    assert row["ties"] == 0
    assert 0 < row["wins"] < len(case.ids)
    assert 0 < sum(ours > theirs for ours, theirs in found["votes"].values()) < len(case.ids)


def test_verdicts_that_an_interrupted_evaluation_left_out_are_worth_nothing(
    run_stb: RunStb, real_data: Path, tmp_path: Path
) -> None:
    """It goes on with the next answer, and divides by all rounds."""
    case, found = cases(real_data)["gaps"], FOUND["gaps"]["systems"]["refdfs"]
    records = case.systems["refdfs"]
    file = {name: verdict_record(records[name], verdicts) for name, verdicts in found["verdicts"].items()}
    path = tmp_path / "pass_rate_results" / "refdfs" / f"{GROUP}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(file))
    run_stb("import", path.parent, "--json")

    rows = run_stb("score", "refdfs", "--judge", "recorded", "--json").document["rows"]

    row = reference_row(rows)
    assert min(len(verdicts) for verdicts in found["verdicts"].values()) == 1
    assert (round(row["value"], 1), round(row["std_rounds"], 1)) == (found["sopr"], found["std"])
    assert row["complete"] is False


def test_whether_an_answer_was_given_is_told_by_words(
    run_stb: RunStb, start: Callable[[str], Case], judge: tuple[object, ...], llm: LLMServer
) -> None:
    """Answers whose text and structure say different things; what cannot follow is named in the docs."""
    case, found = start("gate"), FOUND["gate"]["systems"]["odd"]
    ids = list(case.ids)

    rows = run_stb("score", "odd", *judge, "--rounds", case.rounds, "--json").document["rows"]

    row = reference_row(rows)
    faithful = next(one for one in rows if one["block"] == "faithful" and one["group"] == GROUP)
    theirs = {name: verdicts["0"] == "AnswerStatus.Solved" for name, verdicts in found["verdicts"].items()}
    assert [theirs[name] for name in ids[:6]] == [False, True, False, True, False, False]
    assert found["sopr"] == pytest.approx(100 * sum(theirs.values()) / len(ids), abs=0.05)
    assert [theirs[name] for name in ids[6:]] == [True] * 6
    assert row["value"] == pytest.approx(100 * 6 / len(ids))  # no judge of ours is asked about two of theirs
    assert faithful["value"] == pytest.approx(100 * 8 / len(ids))


def test_final_answer_correctness_is_the_same(
    run_stb: RunStb, start: Callable[[str], Case], llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By replies that say the word, its opposite, both, or neither; one of the systems lacks answers."""
    case = start("pass")
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = by_query(case)

    for system, expected in FOUND["fac"].items():
        scored = run_stb("score", system, "--metric", "fac", "--judge", "stub/any", "--json")

        assert reference_row(scored.document["rows"])["value"] == pytest.approx(expected)


def test_raw_answers_are_shown_as_the_published_converter_writes_them(real_data: Path) -> None:
    """CoT and DFS, ToolBench's own too; all but two, of which that converter takes a path by chance."""
    found = {}
    for folder in raw_folders(real_data):
        for path in sorted(folder.glob("*.json")):
            (record,) = read_records(read_source(path))
            assert isinstance(record, AnswerRecord)
            shown = published_answer(record.trajectory.model_copy(update={"tree": None}))
            if not is_left_to_chance(json.loads(path.read_text())):
                found[str(path.relative_to(real_data / "answers"))] = short_hash(json.dumps(shown))

    assert len(found) == 19
    assert found == FOUND["converted"]


def test_raw_and_converted_form_of_an_answer_are_one_answer(real_data: Path) -> None:
    """They have one hash, so that a verdict on the one counts for the other."""
    raw = (real_data / "answers").glob(f"virtual_chatgpt_*/{GROUP}/*.json")
    converted = (real_data / "model_predictions_converted").glob("*/*.json")

    of_raw, of_converted = (
        {
            (record.trajectory.agent, record.trajectory.query_id): record.trajectory.answer_hash
            for path in paths
            for record in read_records(read_source(path))
            if isinstance(record, AnswerRecord)
        }
        for paths in (raw, converted)
    )

    assert len(of_raw) == 6
    assert of_raw == of_converted


def unsure(body: Json) -> Answer:
    """A judge by our rubrics who looks at all that there is."""
    asked = body["response_format"]["json_schema"]["name"]
    said = {"better": "neither"} if asked == "preference" else {"answer_status": "unsure"}
    return text(json.dumps({"reason": "", **said}))


def test_no_judge_is_shown_a_name(
    run_stb: RunStb, real_data: Path, tmp_path: Path, judge: tuple[object, ...], llm: LLMServer
) -> None:
    """Of 200 prompts and more none has the name of a system, and no comparison that of a method."""
    named = {"ourcot": "wanda-7b_cot", "refdfs": "wanda-7b_dfs"}
    for system, name in named.items():
        source = real_data / "sowr_reference" / system / f"{GROUP}.json"
        records = json.loads(source.read_text())
        for record in records.values():
            record["answer"]["method"] = "method-of-theirs"
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / f"{GROUP}.json").write_text(json.dumps(records))
    run_stb("import", tmp_path / "in", "--json")
    by_folder = by_prompt()
    llm.rule = lambda body: by_folder(body) if "tool_choice" in body else unsure(body)

    for by in (judge, judge[:2]):
        run_stb("score", *named.values(), *by, "--no-anchors")
        for block in ("faithful", "reference"):
            run_stb("compare", *named.values(), *by, "--metric", "sowr", "--block", block)

    prompts = [json.dumps(body) for body in llm.requests]
    assert len(prompts) >= 200
    assert not any("wanda" in prompt for prompt in prompts)
    told = [prompt for prompt in prompts if "method-of-theirs" in prompt]
    assert {prompt_of(json.loads(prompt))[0] for prompt in told} == {"parse_answer_status"}
