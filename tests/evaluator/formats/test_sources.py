"""Answer files of all kinds are recognised by their content and read record by record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stb_core.errors import FormatError
from stb_core.values.trajectories import StopReason
from stb_core.values.verdicts import Status
from stb_evaluator.formats.records import AnswerRecord
from stb_evaluator.formats.sources import AnswerSource, Skipped, read_records, read_source

FINISH = {"return_type": "give_answer", "final_answer": "42"}


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def records(source: AnswerSource) -> list[AnswerRecord]:
    return [r for r in read_records(source) if isinstance(r, AnswerRecord)]


def pass_rate(**fields: Any) -> dict[str, Any]:
    call = {"name": "Finish", "arguments": json.dumps(FINISH), "response": ""}
    return {
        "query": "What?",
        "tool_names": ["f_for_t", "Finish"],
        "answer_steps": f"Step 1: {call}",
        "final_step": f"Final step: {call}",
        "is_solved": {"1": "AnswerStatus.Unsure", "0": "AnswerStatus.Solved"},
        **fields,
    }


def node(kind: str, text: str, *children: Any, **fields: Any) -> dict[str, Any]:
    return {"node_type": kind, "description": text, "pruned": False, "children": list(children), **fields}


def raw(**fields: Any) -> dict[str, Any]:
    names = [{"name": "f_for_t"}, {"type": "function", "function": {"name": "g_for_t"}}]
    generation = {"query": "What?", "function": names, "query_count": 3, "total_tokens": 99}
    return {"win": True, "answer_generation": generation, **fields}


def test_a_pass_rate_file_gives_answers_and_verdicts_by_round(tmp_path: Path) -> None:
    """Verdicts are in the order of their rounds, whatever the order in the file."""
    source = read_source(write(tmp_path / "sys" / "G1_tool.json", {"7": pass_rate()}))

    (record,) = records(source)

    assert (source.kind, source.system, source.group) == ("pass_rate_results", "sys", "G1_tool")
    assert record.verdicts == {0: Status.SOLVED, 1: Status.UNSURE}
    assert (record.trajectory.stop, record.trajectory.final_answer) == (StopReason.ANSWERED, "42")


def test_the_system_in_a_file_name_is_not_part_of_the_group(tmp_path: Path) -> None:
    """The published example names its files <group>_<system>.json."""
    source = read_source(write(tmp_path / "sys_cot" / "G1_tool_sys_cot.json", {"7": pass_rate()}))

    assert (source.system, source.group) == ("sys_cot", "G1_tool")


def test_a_broken_record_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    """One bad verdict costs one record, not the file."""
    bad = pass_rate(is_solved={"0": "AnswerStatus.Maybe"})
    path = write(tmp_path / "s" / "G.json", {"1": pass_rate(), "2": bad, "3": pass_rate(query=None), "4": 5})

    found = list(read_records(read_source(path)))

    assert [str(s).split(", ", 1)[1] for s in found if isinstance(s, Skipped)] == [
        "query 2: 'AnswerStatus.Maybe' is not a verdict",
        "query 3: query is not text",
        "query 4: it is not an object",
    ]
    assert sum(isinstance(r, AnswerRecord) for r in found) == 1


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (None, "it is not an object"),
        ({"query": "What?", "available_tools": []}, "answer is missing"),
        ({"query": "What?", "available_tools": [], "answer": None}, "answer is missing"),
        ({"query": "What?", "available_tools": [], "answer": "42"}, "answer is not an object"),
        ({"query": "What?", "answer": {"answer_details": []}}, "available_tools is missing"),
        ({"query": "What?", "available_tools": [], "answer": {}}, "answer_details is not a list"),
    ],
)
def test_a_broken_converted_answer_is_named_in_words_about_the_file(
    tmp_path: Path, broken: object, reason: str
) -> None:
    """Though it is the first of its file; the others tell which kind of file it is."""
    good = {"query": "What?", "available_tools": [], "answer": {"answer_details": []}}
    path = write(tmp_path / "s" / "G.json", {"1": broken, "2": good})

    found = list(read_records(read_source(path)))

    assert [str(s).split(", ", 1)[1] for s in found if isinstance(s, Skipped)] == [f"query 1: {reason}"]
    assert sum(isinstance(r, AnswerRecord) for r in found) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"1": {"query"', "is not JSON"),
        ("[]", "it holds no answers by query id"),
        ("{}", "it holds no answers by query id"),
        ('{"1": {"a": 1}}', "it is neither"),
        ('{"1": 2}', "it is neither"),
    ],
)
def test_a_file_that_is_none_of_the_kinds_says_so(tmp_path: Path, text: str, reason: str) -> None:
    """The reason is one line."""
    (tmp_path / "f.json").write_text(text)

    with pytest.raises(FormatError, match=reason):
        read_source(tmp_path / "f.json")


@pytest.mark.parametrize("as_text", [True, False])
def test_a_converted_answer_is_read_whether_its_messages_are_texts_or_objects(
    tmp_path: Path, as_text: bool
) -> None:
    """Both forms are in circulation."""
    calls = [
        {"name": "f_for_t", "arguments": "{}", "response": '{"error": "", "response": 1}'},
        {"name": "Finish", "arguments": json.dumps(FINISH), "response": ""},
    ]
    messages = [str(c) if as_text else c for c in calls]
    last = {"role": "tool", "message": messages[1], "next": []}
    details = [
        {
            "role": "system",
            "message": "",
            "next": [
                {
                    "role": "user",
                    "message": "",
                    "next": [{"role": "tool", "message": messages[0], "next": [last]}],
                }
            ],
        }
    ]
    answer = {"method": "CoT@1", "total_steps": 2, "final_answer": "", "answer_details": details}
    document = {"7": {"query": "What?", "available_tools": [{"name": "f_for_t"}], "answer": answer}}

    (record,) = records(read_source(write(tmp_path / "sys" / "G1_tool.json", document)))

    assert [s.function for s in record.trajectory.steps] == ["f_for_t", "Finish"]
    assert (record.trajectory.stop, record.trajectory.final_answer) == (StopReason.ANSWERED, "42")


@pytest.mark.parametrize("current", [True, False])
def test_functions_are_known_in_the_older_and_in_the_current_form(tmp_path: Path, *, current: bool) -> None:
    """And an assistant's message may have ``function_call: null``; the published code crashes on both."""
    named = {"name": "f_for_t", "description": "", "parameters": {}}
    offered = {"type": "function", "function": named} if current else named
    steps = [{"name": "f_for_t", "arguments": "{}", "response": "1"}, {"name": "Finish", "arguments": ""}]
    goal = {"role": "tool", "message": steps[1], "next": []}
    details = [{"role": "tool", "message": steps[0], "next": [goal]}]
    document = {"7": {"query": "Q", "available_tools": [offered], "answer": {"answer_details": details}}}
    (converted,) = records(read_source(write(tmp_path / "sys" / "G.json", document)))
    spoken = {"role": "assistant", "content": "Hm.", "function_call": None}
    answer = node("Action", "f_for_t", node("Action Input", "{}", observation="1"))
    made = raw(tree={"tree": node("Action Input", "", answer)})
    made["answer_generation"] |= {"function": [offered], "train_messages": [[spoken]]}
    (read,) = records(read_source(write(tmp_path / "sys" / "G2" / "7_DFS.json", made)))

    for trajectory in (converted.trajectory, read.trajectory):
        assert trajectory.available_tools == ("f_for_t",)
        assert not any(step.hallucinated for step in trajectory.steps)


def test_a_tree_of_converted_messages_leads_to_its_answer(tmp_path: Path) -> None:
    """The path to the answer is the trajectory, the rest is kept as the tree."""
    dead_end = {"role": "tool", "message": {"name": "f", "arguments": "{}", "response": ""}, "next": []}
    goal = {"role": "tool", "message": {"name": "Finish", "arguments": json.dumps(FINISH)}, "next": []}
    answer = {"answer_details": [{"role": "user", "message": "", "next": [goal, dead_end]}]}
    document = {"7": {"query": "What?", "available_tools": ["f"], "answer": answer}}

    (record,) = records(read_source(write(tmp_path / "s" / "G.json", document)))

    assert [s.function for s in record.trajectory.steps] == ["Finish"]
    assert record.trajectory.tree
    assert [(n.parent, n.final) for n in record.trajectory.tree] == [(None, False), (0, True), (0, False)]


def test_a_message_that_was_cut_is_completed_by_the_final_answer(tmp_path: Path) -> None:
    """The published trajectories cut every message at 100 characters."""
    whole = str({"name": "Finish", "arguments": json.dumps({**FINISH, "final_answer": "x" * 200})})
    answer = {
        "final_answer": json.dumps({**FINISH, "final_answer": "x" * 200}),
        "answer_details": [{"role": "tool", "message": whole[:100], "next": []}],
    }
    document = {"7": {"query": "What?", "available_tools": [], "answer": answer}}

    (record,) = records(read_source(write(tmp_path / "s" / "G.json", document)))

    assert record.trajectory.final_answer == "x" * 200


def test_a_raw_search_leads_to_its_answer(tmp_path: Path) -> None:
    """Thought, Action and Action Input make messages and steps; the pruned branch stays in the tree."""
    answer = node("Action", "Finish", node("Action Input", json.dumps(FINISH), observation="{}"))
    root = node(
        "Action Input",
        "",
        node("Thought", "Hm.", node("Action", "f_for_t", node("Action Input", "{}", pruned=True))),
        node("Action", "g_for_t", node("Action Input", '{"a": 1}', answer, observation="seen")),
    )
    path = write(tmp_path / "sys" / "G2" / "12_DFS_woFilter_w2.json", raw(tree={"tree": root}))
    source = read_source(path)

    (record,) = records(source)

    assert (source.kind, source.system, source.group) == ("raw", "sys", "G2")
    assert record.trajectory.query_id == "12"
    assert [(s.function, s.arguments, s.observation) for s in record.trajectory.steps] == [
        ("g_for_t", '{"a": 1}', "seen"),
        ("Finish", json.dumps(FINISH), ""),
    ]
    assert record.trajectory.tree
    assert [bool(n.pruned) for n in record.trajectory.tree] == [False, True, False, False]
    assert record.trajectory.available_tools == ("f_for_t", "g_for_t")


def test_a_long_search_is_read(tmp_path: Path) -> None:
    """Each call nests the next: two hundred are deeper than the fast writer of JSON goes."""
    chain = node("Action", "Finish", node("Action Input", json.dumps(FINISH), observation="{}"))
    for number in range(200):
        chain = node(
            "Action", "f_for_t", node("Action Input", f'{{"n": {number}}}', chain, observation="seen")
        )
    path = write(
        tmp_path / "sys" / "G2" / "12_DFS_woFilter_w2.json", raw(tree={"tree": node("Thought", "", chain)})
    )

    (record,) = records(read_source(path))

    assert 201 == len(record.trajectory.steps)


def test_of_several_tries_the_first_that_answered_counts(tmp_path: Path) -> None:
    """Not the one that a directory happens to list first."""

    def attempt(answer: str) -> dict[str, Any]:
        arguments = json.dumps({**FINISH, "final_answer": answer} if answer else {"return_type": "give_up"})
        return {"chain": [node("Action", "Finish"), node("Action Input", arguments)], "win": bool(answer)}

    tries = [attempt(""), attempt("one"), attempt("two"), attempt("")]

    (record,) = records(read_source(write(tmp_path / "s" / "G" / "1_CoT@4.json", raw(trys=tries))))

    assert (record.trajectory.stop, record.trajectory.final_answer) == (StopReason.ANSWERED, "one")


def test_every_published_raw_answer_is_read(real_data: Path) -> None:
    """21 answers: 14 end with an answer, 5 give up, 2 do not finish."""
    files = sorted((real_data / "answers").rglob("*.json"))

    stops = [r.trajectory.stop.value for f in files for r in records(read_source(f))]

    assert {stop: stops.count(stop) for stop in set(stops)} == {"answered": 14, "gave_up": 5, "no_finish": 2}


def test_the_three_forms_of_the_worked_example_agree(real_data: Path) -> None:
    """Raw, converted and judged files of one run give the same calls and answers."""

    def answers(folder: str) -> dict[tuple[str, str], tuple[str, list[str]]]:
        files = [f for f in (real_data / folder).rglob("*.json") if "virtual_chatgpt" in str(f)]
        return {
            (r.trajectory.agent, r.trajectory.query_id): (
                r.trajectory.final_answer,
                [s.function for s in r.trajectory.steps],
            )
            for f in files
            for r in records(read_source(f))
        }

    raw_answers = answers("answers")

    assert len(raw_answers) == 6
    assert raw_answers == answers("model_predictions_converted") == answers("pass_rate_results_example")


def test_hallucinated_calls_are_those_that_the_data_description_counts(real_data: Path) -> None:
    """231 calls of unknown functions in the six systems."""
    files = sorted((real_data / "pass_rate_results").rglob("*.json"))

    count = sum(s.hallucinated for f in files for r in records(read_source(f)) for s in r.trajectory.steps)

    assert count == 231


def write_twice(path: Path, document: Any, before: str, after: str) -> Path:
    """A file in which a member stands twice: the text ``before`` is replaced by itself and ``after``."""
    text = json.dumps(document)
    assert before in text
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace(before, f"{before}, {after}", 1))
    return path


ROUND = '"0": "AnswerStatus.Solved"'


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (ROUND, '"0": "AnswerStatus.Unsolved"', "0"),
        ('"query": "What?"', '"query": "Why?"', "query"),
        (ROUND, r'"\u0030": "AnswerStatus.Unsolved", "\u0022\u0022": 1', "0"),
    ],
)
def test_what_stands_in_a_record_twice_is_named(tmp_path: Path, before: str, after: str, name: str) -> None:
    """Neither of two values is taken for the one that counts; other records are read."""
    document = {"7": pass_rate(), "8": pass_rate()}
    source = read_source(write_twice(tmp_path / "sys" / "G1_tool.json", document, before, after))

    broken, whole = read_records(source)

    assert isinstance(whole, AnswerRecord)
    assert isinstance(broken, Skipped)
    assert (broken.query_id, broken.reason) == (
        "7",
        f"{name!r} stands in one object of it twice, with different values",
    )


def test_the_same_value_twice_is_one(tmp_path: Path) -> None:
    """It contradicts nothing."""
    path = write_twice(tmp_path / "sys" / "G1_tool.json", {"7": pass_rate()}, ROUND, ROUND)

    (record,) = records(read_source(path))

    assert record.verdicts == {0: Status.SOLVED, 1: Status.UNSURE}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"win": true', '"win": false'),
        ('"description": "f_for_t"', '"description": "g_for_t"'),
        ('"query": "What?"', '"query": "Why?"'),
    ],
)
def test_a_raw_answer_that_says_two_things_is_named(tmp_path: Path, before: str, after: str) -> None:
    """At the top of the file as deep in its search tree."""
    search = node("Thought", "", node("Action", "f_for_t", node("Action Input", "{}", observation="1")))
    document = raw(tree={"tree": search})
    path = write_twice(tmp_path / "sys" / "G1_tool" / "7_CoT@1.json", document, before, after)

    (broken,) = read_records(read_source(path))

    assert isinstance(broken, Skipped)
    assert (broken.query_id, "twice, with different values" in broken.reason) == ("7", True)
