"""Importing answers: one run a system, the same again adds nothing, nothing is lost silently."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from stb_core.errors import ConflictError, FormatError, NotFoundError, UsageError
from stb_core.store import Store
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_evaluator.transfer.importing import ImportedSystem, import_answers

FINISH = json.dumps({"return_type": "give_answer", "final_answer": "42"})


def record(query_id: str, word: str = "Solved") -> dict[str, object]:
    steps = [
        {"name": "f_for_t", "arguments": "{}", "response": '{"error": "", "response": 42}'},
        {"name": "Finish", "arguments": FINISH, "response": ""},
    ]
    return {
        "query": f"What is {query_id}?",
        "tool_names": ["f_for_t", "Finish"],
        "answer_steps": "\n".join(f"Step {n}: {s}" for n, s in enumerate(steps, start=1)),
        "final_step": f"Final step: {steps[-1]}",
        "is_solved": {str(n): f"AnswerStatus.{word}" for n in range(3)},
    }


def write(folder: Path, system: str, ids: str, *, group: str = "G1_tool", word: str = "Solved") -> Path:
    path = folder / system / f"{group}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({one: record(one, word) for one in ids}))
    return path


async def make_dataset(store: Store, ids: str, group: str = "G1_tool") -> None:
    dataset = await store.datasets.create("real")
    queries = [
        Query(query_id=one, group=group, text=f"What is {one}?", apis=(ApiRef("C", "t", "f"),)) for one in ids
    ]
    async with store.writing() as connection:
        await store.datasets.put_queries(connection, dataset.id, queries)


async def test_links_that_lead_out_are_skipped(sqlite_store: Store, tmp_path: Path) -> None:
    """Also those that lead nowhere; a link within the folder is read."""
    answers = tmp_path / "answers" / "a"
    answers.mkdir(parents=True)
    record = {"query": "What?", "available_tools": [], "answer": {"final_answer": "x", "answer_details": []}}
    for place in (tmp_path / "outside.json", answers / "G1_tool.json"):
        place.write_text(json.dumps({"1": record}))
    (answers / "G2_category.json").symlink_to(tmp_path / "outside.json")
    (answers / "G3_instruction.json").symlink_to(tmp_path / "gone.json")
    (answers / "G1_category.json").symlink_to(answers / "G1_tool.json")

    summary = await import_answers(sqlite_store, tmp_path / "answers")

    assert {"G2_category.json": "is a link that leads out of the folder"} == {
        one.path.name: one.reason for one in summary.skipped
    }
    assert [2] == [run.queries for run in summary.runs]


async def test_the_same_import_twice_adds_nothing(store: Store, tmp_path: Path) -> None:
    """The second time every count of new things is 0."""
    write(tmp_path, "a_cot", "123")
    write(tmp_path, "b_dfs", "123")

    first = await import_answers(store, tmp_path)
    second = await import_answers(store, tmp_path)

    assert [(r.run, r.new_queries, r.new_verdicts) for r in first.runs] == [("a_cot", 3, 9), ("b_dfs", 3, 9)]
    assert [(r.queries, r.new_queries, r.new_verdicts) for r in second.runs] == [(3, 0, 0), (3, 0, 0)]


async def test_what_an_earlier_version_imported_is_the_same_answer(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """It kept what ``Finish`` returned, and not the text of the answer; the run stays as it is."""
    write_raw(tmp_path, "a", "2")
    path = tmp_path / "a" / "G1_tool" / "2_CoT@1.json"
    document = json.loads(path.read_text())
    chain = [
        {"node_type": "Action", "description": "Finish"},
        {"node_type": "Action Input", "description": FINISH, "observation": '{"response": "thank you"}'},
    ]
    path.write_text(json.dumps({**document, "trys": [{"chain": chain}]}))
    await import_answers(sqlite_store, tmp_path)
    (now,) = [t async for t in sqlite_store.runs.trajectories("a")]
    (step,) = now.steps
    earlier = now.model_copy(
        update={
            "steps": (step.model_copy(update={"observation": '{"response": "thank you"}'}),),
            "imported": {"total_tokens": 0},
        }
    )
    await sqlite_store.runs.put_trajectories("a", [earlier])

    again = await import_answers(sqlite_store, tmp_path)

    assert step.observation == ""
    assert [(r.queries, r.new_queries) for r in again.runs] == [(1, 0)]
    path.write_text(path.read_text().replace("thank you", "no").replace("42", "43"))
    with pytest.raises(ConflictError, match="1 changed"):
        await import_answers(sqlite_store, tmp_path)


async def test_without_a_dataset_the_denominator_is_the_union_of_all_systems(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """An answer that one system lacks and another has is missing."""
    write(tmp_path, "a", "123")
    write(tmp_path, "b", "2")
    write(tmp_path, "b", "7", group="G3_instruction")

    summary = await import_answers(sqlite_store, tmp_path)

    assert summary.dataset is None
    assert [(r.run, r.expected, r.missing) for r in summary.runs] == [("a", 4, 1), ("b", 4, 2)]


def write_converted(folder: Path, system: str, **answers: object) -> None:
    """Converted answers by id, numbers with a letter before them: what stands in ``answer`` of each."""
    path = folder / system / "G1_tool.json"
    path.parent.mkdir(parents=True)
    records = {
        one[1:]: {"query": f"What is {one[1:]}?", "available_tools": [], "answer": answer}
        for one, answer in answers.items()
    }
    path.write_text(json.dumps(records))


def finished() -> dict[str, object]:
    call = {"name": "Finish", "arguments": FINISH, "response": ""}
    return {"final_answer": FINISH, "answer_details": [{"role": "tool", "message": call, "next": []}]}


def write_raw(folder: Path, system: str, query_id: str, text: str = "") -> None:
    path = folder / system / "G1_tool" / f"{query_id}_CoT@1.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    generation = {"query": f"What is {query_id}?", "function": [], "final_answer": FINISH}
    path.write_text(text or json.dumps({"answer_generation": generation, "trys": [{"chain": []}]}))


@pytest.mark.parametrize("kind", ["converted", "pass_rate_results", "raw"])
@pytest.mark.parametrize("with_dataset", [False, True])
async def test_answers_that_cannot_be_read_are_missing(
    sqlite_store: Store, tmp_path: Path, kind: str, *, with_dataset: bool
) -> None:
    """They are in the file, so they are expected: of four answers one is there."""
    if with_dataset:
        await make_dataset(sqlite_store, "1234")
    if kind == "converted":
        write_converted(tmp_path, "a", q1=None, q2=finished(), q3="42", q4={})
    elif kind == "raw":
        write_raw(tmp_path, "a", "2")
        for query_id, text in {"1": "{", "3": "[]", "4": '{"answer_generation": null, "trys": []}'}.items():
            write_raw(tmp_path, "a", query_id, text)
    else:
        broken = {"1": None, "3": {**record("3"), "is_solved": "maybe"}, "4": {**record("4"), "query": 4}}
        write(tmp_path, "a", "").write_text(json.dumps({**broken, "2": record("2")}))

    summary = await import_answers(sqlite_store, tmp_path)

    (imported,) = summary.runs
    assert (imported.queries, imported.expected, imported.missing) == (1, 4, 3)
    assert (await sqlite_store.runs.get("a")).expected == {"G1_tool": ["1", "2", "3", "4"]}
    assert len(summary.skipped) == 3


def test_a_score_counts_answers_that_cannot_be_read(run_stb: Callable[..., Any], tmp_path: Path) -> None:
    """As unsolved, and the score says that it is incomplete."""
    solved = {"2": record("2"), **{one: {**record(one), "is_solved": None} for one in "134"}}
    write(tmp_path / "in", "a", "").write_text(json.dumps(solved))

    imported = run_stb("import", "in")
    scored = run_stb("score", "a", "--judge", "recorded", "--json")

    row = next(row for row in scored.document["rows"] if row["group"] == "G1_tool")
    assert (imported.code, scored.code) == (1, 1)
    assert "NOTE: a has no answer to 3 of 4 queries." in imported.err
    assert (row["block"], row["value"], row["n"], row["n_total"], row["missing"]) == (
        "faithful",
        25.0,
        4,
        4,
        3,
    )
    assert row["complete"] is False


async def test_a_system_none_of_whose_raw_answers_can_be_read_is_a_run_without_answers(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Beside one whose answers can."""
    write_raw(tmp_path, "a", "1")
    write_raw(tmp_path, "b", "1", "{")

    summary = await import_answers(sqlite_store, tmp_path)

    assert [(run.run, run.queries, run.missing) for run in summary.runs] == [("a", 1, 0), ("b", 0, 1)]


async def test_a_file_that_is_not_json_leaves_its_group_missing(sqlite_store: Store, tmp_path: Path) -> None:
    """Where the dataset tells what the group holds; other files, and groups that it lacks, ask nothing."""
    await make_dataset(sqlite_store, "123", group="G2_category")
    write(tmp_path, "a", "12", group="G2_category")
    write(tmp_path, "b", "12", group="G3_instruction")
    for name in ("G2_category", "notes"):
        (tmp_path / "b" / f"{name}.json").write_text("{")

    summary = await import_answers(sqlite_store, tmp_path, dataset="real")

    assert [(run.run, run.queries, run.missing) for run in summary.runs] == [("a", 2, 1), ("b", 2, 3)]


async def test_the_dataset_with_these_queries_gives_the_denominator(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """It is found by ids and texts, and the calls are resolved to its APIs."""
    await make_dataset(sqlite_store, "12345")
    write(tmp_path, "a", "123")

    summary = await import_answers(sqlite_store, tmp_path)

    (run,) = summary.runs
    assert (summary.dataset, run.dataset, run.expected, run.missing) == ("real", "real", 5, 2)
    (first, *_) = [t async for t in sqlite_store.runs.trajectories("a")]
    assert [(s.category, s.tool, s.api) for s in first.steps] == [("C", "t", "f"), (None, None, None)]


async def test_a_dataset_with_other_queries_is_not_taken(sqlite_store: Store, tmp_path: Path) -> None:
    """The same ids with other texts are other queries."""
    write(tmp_path, "a", "12")
    dataset = await sqlite_store.datasets.create("other")
    queries = [Query(query_id=one, group="G1_tool", text="Something else", apis=()) for one in "12"]
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_queries(connection, dataset.id, queries)

    assert (await import_answers(sqlite_store, tmp_path)).dataset is None


async def test_answers_to_queries_that_the_dataset_lacks_are_counted(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """They are kept, but do not fill the place of a missing one."""
    await make_dataset(sqlite_store, "12")
    write(tmp_path, "a", "19")

    (run,) = (await import_answers(sqlite_store, tmp_path, dataset="real")).runs

    assert (run.queries, run.expected, run.not_in_dataset, run.missing) == (2, 2, 1, 1)


@pytest.mark.parametrize(("ids", "word"), [("12", "Solved"), ("123", "Unsolved")])
async def test_changed_files_under_the_same_name_are_refused(
    sqlite_store: Store, tmp_path: Path, ids: str, word: str
) -> None:
    """An answer gone or a verdict changed: one line says which, and nothing is written."""
    write(tmp_path, "a", "123")
    await import_answers(sqlite_store, tmp_path)
    write(tmp_path, "a", ids, word=word)
    write(tmp_path, "z", "123")

    with pytest.raises(ConflictError, match=r"The run 'a' holds other content: .* G1_tool/[13]"):
        await import_answers(sqlite_store, tmp_path)

    assert [run.run for run in await sqlite_store.runs.all()] == ["a"]


async def test_an_import_that_was_cut_off_is_completed(sqlite_store: Store, tmp_path: Path) -> None:
    """Only what is lacking is added."""
    write(tmp_path, "a", "1")
    await import_answers(sqlite_store, tmp_path)
    write(tmp_path, "a", "123")

    (run,) = (await import_answers(sqlite_store, tmp_path)).runs

    assert (run.queries, run.expected, run.verdicts, run.new_queries, run.new_verdicts) == (3, 3, 9, 2, 6)


async def test_a_broken_file_is_named_and_its_group_is_missing(sqlite_store: Store, tmp_path: Path) -> None:
    """The rest is imported; mended and imported again, the group is filled."""
    write(tmp_path, "a", "12")
    write(tmp_path, "b", "12")
    broken = write(tmp_path, "a", "78", group="G3_instruction")
    write(tmp_path, "b", "78", group="G3_instruction")
    whole = broken.read_text()
    broken.write_text(whole[:50])

    first = await import_answers(sqlite_store, tmp_path)
    broken.write_text(whole)
    second = await import_answers(sqlite_store, tmp_path)

    assert [(r.run, r.missing) for r in first.runs] == [("a", 2), ("b", 0)]
    assert [str(s) for s in first.skipped] == [f"{broken}: is not JSON: unexpected end of data."]
    assert [(r.run, r.missing) for r in second.runs] == [("a", 0), ("b", 0)]


async def test_a_run_of_our_own_is_not_overwritten(sqlite_store: Store, tmp_path: Path) -> None:
    """A run of that name that was not imported stays."""
    await sqlite_store.runs.create("a", Manifest(dataset="d", dataset_hash="", agent="cot"), {})
    write(tmp_path, "a", "1")

    with pytest.raises(ConflictError, match="There is a run 'a' that was not imported"):
        await import_answers(sqlite_store, tmp_path)


async def test_one_system_can_be_given_a_name(sqlite_store: Store, tmp_path: Path) -> None:
    """Several cannot."""
    write(tmp_path, "a", "1")

    (run,) = (await import_answers(sqlite_store, tmp_path / "a", name="mine")).runs
    write(tmp_path, "b", "1")

    assert run.run == "mine"
    with pytest.raises(UsageError, match="2 systems"):
        await import_answers(sqlite_store, tmp_path, name="mine")


async def test_what_cannot_be_imported_says_why(sqlite_store: Store, tmp_path: Path) -> None:
    """A path that is not there, and a folder without answers."""
    with pytest.raises(NotFoundError, match="There is no file or folder"):
        await import_answers(sqlite_store, tmp_path / "nowhere")
    with pytest.raises(FormatError, match="holds no answers"):
        await import_answers(sqlite_store, tmp_path)


async def test_two_answers_to_one_query_are_not_left_to_the_order_of_files(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """The first by name counts, the other is named."""
    write(tmp_path, "a", "1")
    shutil.copy(tmp_path / "a" / "G1_tool.json", tmp_path / "a" / "G1_tool_a.json")

    summary = await import_answers(sqlite_store, tmp_path)

    assert isinstance(summary.runs[0], ImportedSystem)
    assert [s.reason for s in summary.skipped] == ["another file has an answer to it already"]


def test_the_command_reports_rows_and_what_it_skipped(
    stb: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    """One JSON document; exit code 1 because something was skipped."""
    write(tmp_path / "in", "a", "12")
    (tmp_path / "in" / "a" / "x.json").write_text("{")

    done = stb("import", "in", "--json")

    document = json.loads(done.stdout)
    assert (done.returncode, len(document["skipped"])) == (1, 1)
    assert (
        document["rows"][0] | {"run": "a", "queries": 2, "missing": 0, "verdicts": 6} == document["rows"][0]
    )
    assert done.stderr.startswith("skipped: ")


@pytest.mark.parametrize(
    ("argument", "line", "code"),
    [
        ("nowhere", "stb: There is no file or folder nowhere.", 2),
        (".", "stb: . holds no answers that can be imported.", 1),
    ],
)
def test_bad_input_is_one_line(
    stb: Callable[..., CompletedProcess[str]], argument: str, line: str, code: int
) -> None:
    """No traceback, and an exit code that tells bad usage from a failure."""
    done = stb("import", argument)

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


async def test_a_system_none_of_whose_groups_the_dataset_has_is_not_of_the_dataset(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Its denominator is what was imported, and its run names no dataset."""
    await make_dataset(sqlite_store, "123")
    write(tmp_path, "a", "123")
    write(tmp_path, "b", "7", group="G1_answer")

    summary = await import_answers(sqlite_store, tmp_path, dataset="real")

    assert [(run.run, run.dataset, run.expected) for run in summary.runs] == [
        ("a", "real", 3),
        ("b", "unknown", 1),
    ]


async def test_two_different_answers_to_one_query_in_one_file_are_none(
    sqlite_store: Store, tmp_path: Path
) -> None:
    """Neither counts; one that stands there twice as it is counts once."""
    path = write(tmp_path, "a", "12")
    members = [("1", record("1", "Unsolved")), ("1", record("1")), ("2", record("2")), ("2", record("2"))]
    path.write_text("{" + ", ".join(f'"{name}": {json.dumps(value)}' for name, value in members) + "}")

    summary = await import_answers(sqlite_store, tmp_path)

    (run,) = summary.runs
    assert (run.queries, run.expected, run.missing) == (1, 2, 1)
    assert [(one.query_id, one.reason) for one in summary.skipped] == [
        ("1", "the file has different answers to it")
    ]


async def test_a_round_with_two_verdicts_is_missing_and_named(sqlite_store: Store, tmp_path: Path) -> None:
    """The answer is expected all the same, so the score is incomplete and no higher."""
    path = write(tmp_path, "a", "12", word="Unsolved")
    path.write_text(path.read_text().replace('"0": ', '"0": "AnswerStatus.Solved", "0": ', 1))

    summary = await import_answers(sqlite_store, tmp_path)

    assert [(run.queries, run.expected, run.missing) for run in summary.runs] == [(1, 2, 1)]
    assert ["'0' stands in one object of it twice" in str(one) for one in summary.skipped] == [True]
