"""``stb ls``, ``stb show`` and ``stb rm``."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from evaluator_makers import make_run, trajectory
from stb_core.store import open_store
from stb_core.values.trajectories import Message, ModelCall, StopReason, Timing


@pytest.fixture
def filled(sqlite_store_url: str) -> None:
    """One complete run, and one that lacks an answer and has one that was spoiled."""

    async def work() -> None:
        store = await open_store(sqlite_store_url)
        hostile = trajectory("1", answer="red \x1b[31m text \x07")
        await make_run(store, [hostile, trajectory("1", group="G3_instruction")], run="whole")
        spoiled = trajectory("2", stop=StopReason.INFRASTRUCTURE)
        await make_run(store, [trajectory("1"), spoiled], run="part", expected={"G1_tool": ["1", "2", "3"]})
        await store.close()

    asyncio.run(work())


@pytest.mark.usefixtures("filled")
def test_runs_are_listed_with_their_state(run_stb) -> None:
    """A spoiled or missing answer makes a run incomplete."""
    rows = run_stb("ls", "--json").document["rows"]

    assert [(r["run"], r["complete"], r["answers"], r["expected"]) for r in rows] == [
        ("whole", True, 2, 2),
        ("part", False, 1, 3),
    ]
    assert rows[0].keys() >= {"run", "name", "dataset", "agent", "model", "complete"}
    assert "whole" in run_stb("ls").out


@pytest.mark.usefixtures("filled")
def test_a_run_is_shown_by_group(run_stb) -> None:
    """Its first line says whether it is complete."""
    ended = run_stb("show", "part")

    assert ended.out.splitlines()[0] == "part: INCOMPLETE, 1 of 3 answers."


@pytest.mark.usefixtures("filled")
def test_one_trajectory_is_shown(run_stb) -> None:
    """Query, call, observation and answer."""
    ended = run_stb("show", "part/1")

    for words in ("What is number 1?", "f_for_t", "4217", "Stopped: answered", "Final answer: It is 4217."):
        assert words in ended.out


def test_names_with_strokes_and_answers_of_megabytes(run_stb, sqlite_store_url: str) -> None:
    """Both are shown, the answer shortened unless all of it is asked for."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [trajectory("A/b", group="a/b", answer="word " * 200_000)], run="odd")
        await store.close()

    asyncio.run(fill())

    for what in ("odd/A/b", "odd/a/b/A/b"):
        assert "further characters are not shown" in run_stb("show", what).out
    assert len(run_stb("show", "odd/A/b", "--full").out) > 1_000_000


@pytest.mark.usefixtures("filled")
def test_a_query_of_two_groups_needs_its_group(run_stb) -> None:
    """The error says how to write it."""
    refused = run_stb("show", "whole/1")

    assert (refused.code, refused.out) == (2, "")
    assert "Write whole/GROUP/1." in refused.err
    assert (
        run_stb("show", "whole/G3_instruction/1", "--json").document["rows"][0]["group"] == "G3_instruction"
    )


@pytest.mark.usefixtures("filled")
def test_a_text_from_outside_cannot_drive_the_terminal(run_stb) -> None:
    """Control characters are replaced."""
    out = run_stb("show", "whole/G1_tool/1").out

    assert "\x1b" not in out
    assert "\x07" not in out


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("nope", "stb: There is no run 'nope'."),
        ("nope/1", "stb: There is no run 'nope'."),
        ("part/3", "stb: The run 'part' has no answer to query '3' yet."),
        ("part/9", "stb: The run 'part' has no answer to query '9'."),
        ("part/G9/1", "stb: The run 'part' has no answer to query '1'."),
    ],
)
def test_what_is_not_there_is_one_line(run_stb, what: str, line: str) -> None:
    """With the exit code of bad usage."""
    ended = run_stb("show", what)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(line)


@pytest.mark.usefixtures("filled")
def test_a_removed_run_is_gone(run_stb) -> None:
    """Unless one of the names is wrong: then none is removed."""
    assert run_stb("rm", "part", "nope").code == 2
    assert run_stb("rm", "part").code == 0
    assert [r["run"] for r in run_stb("ls", "--json").document["rows"]] == ["whole"]


def test_an_empty_store_says_what_to_do(run_stb) -> None:
    """On stderr; the list is empty."""
    assert run_stb("ls", "--json").document == {"rows": []}
    assert "There are no runs yet." in run_stb("ls").err


def test_what_a_model_wrote_in_place_of_calls_is_shown_and_exported(
    run_stb, sqlite_store_url: str, tmp_path: Path
) -> None:
    """With how its replies ended; the last ones, or all with ``--full``."""
    said = [Message(role="assistant", content=f"words {number}") for number in range(5)]
    silent = trajectory("1", stop=StopReason.NO_FINISH).model_copy(
        update={
            "steps": (),
            "messages": (Message(role="user", content="Go."), *said),
            "timing": Timing(
                model_calls=(
                    ModelCall(seconds=1, finish_reason="length", thoughts="thought 0"),
                    ModelCall(seconds=1, thoughts="thought 1"),
                )
            ),
        }
    )

    async def work() -> None:
        store = await open_store(sqlite_store_url)
        await make_run(store, [silent], run="r")
        await store.close()

    asyncio.run(work())

    shown, full = run_stb("show", "r/1").out, run_stb("show", "r/1", "--full").out
    run_stb("export", "r", "--format", "openai-messages", "-o", "r.jsonl")
    exported = json.loads((tmp_path / "r.jsonl").read_text())

    assert "words 4" in shown
    assert "words 0" not in shown
    assert "(2 earlier replies without a call: --full)" in shown
    assert "1 of 2 reached the limit on tokens" in shown
    assert "The model thought: thought 1" in shown
    assert "thought 0" not in shown
    assert "words 0" in full
    assert "thought 0" in full
    assert [f"words {n}" for n in range(5)] == [m["content"] for m in exported["messages"][1:]]
