"""Damage to imported files never makes a denominator smaller, or a score higher, without a word."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stb_core.errors import FormatError, UsageError
from stb_core.store import Store, open_store
from stb_core.values import Query
from stb_evaluator.judges.panel import panel_of_one
from stb_evaluator.scores import RunReader, score_rows
from stb_evaluator.transfer.importing import ImportSummary, import_answers

FINISH = json.dumps({"return_type": "give_answer", "final_answer": "42"})
GROUPS = ("G1_tool", "G2_category")
IDS = ("1", "2", "3", "4")
ODD: tuple[Any, ...] = (None, 7, "text", [], {}, [[]], {"answer": None}, True)


def converted(query_id: str) -> dict[str, Any]:
    call = {"name": "Finish", "arguments": FINISH, "response": ""}
    details = [{"role": "tool", "message": call, "next": []}]
    answer = {"final_answer": FINISH, "answer_details": details}
    return {"query": f"What is {query_id}?", "available_tools": [], "answer": answer}


def raw(query_id: str) -> dict[str, Any]:
    generation = {"query": f"What is {query_id}?", "function": [], "final_answer": FINISH}
    return {"answer_generation": generation, "trys": [{"chain": []}]}


def judged(query_id: str) -> dict[str, Any]:
    word = "Solved" if query_id in "13" else "Unsolved"
    call = {"name": "Finish", "arguments": FINISH, "response": ""}
    return {
        "query": f"What is {query_id}?",
        "tool_names": ["Finish"],
        "answer_steps": f"Step 1: {call}",
        "final_step": f"Final step: {call}",
        "is_solved": {str(n): f"AnswerStatus.{word}" for n in range(3)},
    }


@dataclass(frozen=True)
class Damage:
    """What is done to which record, or to the text of which file."""

    how: str
    group: str
    query_id: str
    field: int
    value: Any
    share: float


damages = st.builds(
    Damage,
    st.sampled_from(["drop", "drop file", "cut", "retype", "retype field", "duplicate", "rename"]),
    st.sampled_from(GROUPS),
    st.sampled_from(IDS),
    st.integers(0, 5),
    st.sampled_from(ODD),
    st.floats(0, 0.99),
)


def write(folder: Path, kind: str, damaged: Sequence[Damage]) -> None:
    """The answers of one system in both groups, with these damages one after another."""
    make = {"converted": converted, "raw": raw, "pass_rate_results": judged}[kind]
    files: dict[Path, list[tuple[str, Any]]] = {}
    for group in GROUPS:
        for query_id in IDS:
            if kind == "raw":
                files[folder / "a" / group / f"{query_id}_CoT@1.json"] = list(make(query_id).items())
            else:
                files.setdefault(folder / "a" / f"{group}.json", []).append((query_id, make(query_id)))
    texts: dict[Path, str] = {}
    for one in damaged:
        path = (
            folder
            / "a"
            / (f"{one.group}/{one.query_id}_CoT@1.json" if kind == "raw" else f"{one.group}.json")
        )
        members = files.get(path)
        if members is None:
            continue
        if one.how == "cut" or one.how == "drop file":
            texts[path] = text_of(members)[: int(one.share * len(text_of(members)))]
            if one.how == "drop file":
                del files[path]
        else:
            files[path] = changed(members, one, is_raw=kind == "raw")
    for path, members in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts.get(path) or text_of(members))


def text_of(members: Sequence[tuple[str, Any]]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in members) + "}"


def changed(members: list[tuple[str, Any]], one: Damage, *, is_raw: bool) -> list[tuple[str, Any]]:
    """The members of an object after one damage to one of them."""
    place = one.field % len(members) if is_raw else IDS.index(one.query_id) % len(members)
    name, value = members[place]
    others = [*members[:place], *members[place + 1 :]]
    if one.how == "drop":
        return others or members
    if one.how == "retype":
        return [*members[:place], (name, one.value), *members[place + 1 :]]
    if one.how == "duplicate":
        copy = dict(value) if isinstance(value, dict) else {}
        if "is_solved" in copy:
            copy["is_solved"] = {"0": "AnswerStatus.Solved"}
        return [*members, (name, copy or one.value)]
    if one.how == "retype field" and isinstance(value, dict) and value:
        field = list(value)[one.field % len(value)]
        return [*members[:place], (name, {**value, field: one.value}), *members[place + 1 :]]
    return members


async def scored(store: Store, path: Path) -> tuple[ImportSummary, dict[str, Any] | None]:
    """What an import says, and the faithful micro row of the run by the verdicts that came with it."""
    summary = await import_answers(store, path)
    run = await store.runs.find("a")
    if run is None:
        return summary, None
    rows = await score_rows(RunReader(store, run), panel_of_one("recorded", "recorded"), rounds=None)
    await store.runs.remove("a")
    return summary, next(r for r in rows if (r["block"], r["group"]) == ("faithful", "micro"))


async def put_dataset(store: Store) -> None:
    dataset = await store.datasets.create("real")
    queries = [
        Query(query_id=one, group=group, text=f"What is {one}?", apis=()) for group in GROUPS for one in IDS
    ]
    async with store.writing() as connection:
        await store.datasets.put_queries(connection, dataset.id, queries)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pass_rate_results", "converted", "raw"])
@pytest.mark.parametrize("with_dataset", [False, True])
def test_no_damage_goes_unsaid(sqlite_store_url: str, kind: str, *, with_dataset: bool) -> None:
    """Fewer queries, or a higher score, come with words: at the import, and in a score that is incomplete.

    Without a dataset nobody can know of what was taken out as a whole, and the import says that.
    """
    with asyncio.Runner() as runner:
        store = runner.run(open_store(sqlite_store_url))
        if with_dataset:
            runner.run(put_dataset(store))

        def import_damaged(damaged: Sequence[Damage]) -> tuple[ImportSummary, dict[str, Any] | None] | None:
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), kind, damaged)
                try:
                    return runner.run(scored(store, Path(folder)))
                except (FormatError, UsageError):
                    return None

        whole = import_damaged([])
        assert whole is not None
        _, before = whole
        assert before is not None

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(damaged=st.lists(damages, min_size=1, max_size=3))
        def check(damaged: list[Damage]) -> None:
            if (found := import_damaged(damaged)) is None:
                return
            said, after = found
            if after is None:
                assert said.skipped
                return
            # What was taken out as a whole leaves no trace, unless the dataset tells what there should be.
            is_unknowable = said.dataset is None and any(one.how.startswith("drop") for one in damaged)
            # A group of which nothing is left makes the run a subset, and the headline says so.
            is_said = bool(said.skipped) or after["subset"] or is_unknowable
            assert after["n_total"] >= before["n_total"] or is_said
            assert not after["complete"] or not said.skipped
            if kind == "pass_rate_results" and not (is_unknowable or after["subset"]):
                assert not after["complete"] or after["value"] <= before["value"] + 1e-9

        check()
        runner.run(store.close())
