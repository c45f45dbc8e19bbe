"""Raw and converted answers of ToolBench go in, out and in again, and scoring sees the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from stb_core.store import Store
from stb_core.values.manifest import Manifest
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef, ToolDocument
from stb_core.values.trajectories import FINISH, FunctionCall, Message, Node, Step, StopReason, Trajectory
from stb_evaluator.formats import converted_in, raw_in
from stb_evaluator.formats.converted_out import converted_record, openai_record
from stb_evaluator.formats.offered import OfferedFunctions, offer_of
from stb_evaluator.formats.raw_out import COT, DFS, method_of, path_of, points_of, raw_record
from stb_evaluator.formats.sources import Skipped, find_files, read_records, read_source
from stb_evaluator.scores.run_reader import load_queries

ANSWER = '{"return_type": "give_answer", "final_answer": "42"}'
GIVE_UP = '{"return_type": "give_up_and_restart"}'


def call(name: str, arguments: str = "{}", observation: str = "") -> Step:
    return Step(function=name, arguments=arguments, observation=observation)


def asked(name: str, arguments: str = "{}", content: str | None = None) -> Message:
    return Message(
        role="assistant", content=content, tool_calls=(FunctionCall(id="1", name=name, arguments=arguments),)
    )


def trajectory(steps: tuple[Step, ...], **more: Any) -> Trajectory:
    given = {"stop": StopReason.ANSWERED, "final_answer": "42"} | more
    return Trajectory(
        group="g", query_id="7", query="Why?", agent="a", available_tools=("f", "g"), steps=steps, **given
    )


def search() -> Trajectory:
    """A thought, then a call that was abandoned and one that led to the answer."""
    finish, f, g = call(FINISH, ANSWER), call("f", observation="no"), call("g", observation="yes")
    nodes = (
        Node(parent=None, message=Message(role="user", content="Why?")),
        Node(parent=0, message=Message(role="assistant", content="I look.")),
        Node(parent=1, message=asked("f")),
        Node(parent=2, message=Message(role="tool", content="no"), step=f, pruned="abandoned"),
        Node(parent=3, message=asked(FINISH, GIVE_UP)),
        Node(parent=4, step=call(FINISH, GIVE_UP), pruned="gave up"),
        Node(parent=1, message=asked("g", content="Or so.")),
        Node(parent=6, message=Message(role="tool", content="yes"), step=g),
        Node(parent=7, message=asked(FINISH, ANSWER)),
        Node(parent=8, step=finish, final=True),
    )
    return trajectory((g, finish), tree=nodes)


def drawn(node: dict[str, Any], depth: int = 0) -> list[str]:
    told = f"{'  ' * depth}{node['node_type']} {node['description']}{' [pruned]' if node['pruned'] else ''}"
    return [told, *(line for child in node["children"] for line in drawn(child, depth + 1))]


def test_a_search_is_a_tree_of_thoughts_and_actions() -> None:
    """With its abandoned branches, marked as such."""
    found = search()

    record = raw_record(found, method_of([found]), ())

    assert method_of([found]) == DFS
    assert drawn(record["tree"]["tree"])[1:] == [
        "  Thought I look.",
        "    Action f [pruned]",
        "      Action Input {} [pruned]",
        f"        Action {FINISH} [pruned]",
        f"          Action Input {GIVE_UP} [pruned]",
        "    Thought Or so.",
        "      Action g",
        "        Action Input {}",
        f"          Action {FINISH}",
        f"            Action Input {ANSWER}",
    ]


def test_a_conversation_is_one_try() -> None:
    """Its thoughts stand where they were said; the answer is a call of Finish, made or handed in."""
    said = (
        Message(role="user", content="Why?"),
        asked("f", content="Let me see."),
        Message(role="tool", content="yes", tool_call_id="1"),
        Message(role="assistant", content="So."),
    )
    found = trajectory((call("f", observation="yes"),), messages=said)

    record = raw_record(found, method_of([found]), ())

    (one,) = record["trys"]
    assert method_of([found]) == COT
    assert [(node["node_type"], node["description"]) for node in one["chain"]] == [
        ("Thought", "Let me see."),
        ("Action", "f"),
        ("Action Input", "{}"),
        ("Thought", "So."),
        ("Action", FINISH),
        ("Action Input", '{"return_type":"give_answer","final_answer":"42"}'),
    ]
    assert one["win"]
    roles = [message["role"] for message in record["answer_generation"]["train_messages"][0]]
    assert roles == ["system", "user", "assistant", "assistant", "function", "assistant", "assistant"]


def test_what_gave_no_answer_is_not_valid_data() -> None:
    """It has no final answer and nothing to train on; the converter then reads the tries."""
    found = trajectory((call("f"), call(FINISH, GIVE_UP)), stop=StopReason.GAVE_UP, final_answer="")

    made = raw_record(found, COT, ())["answer_generation"]

    assert (made["valid_data"], made["final_answer"], made["finish_type"]) == (False, "", "give_up")
    assert made["train_messages"] == []
    assert converted_record(found, ())["answer"]["final_answer"] == ""


def test_nothing_done_is_an_empty_try() -> None:
    """A query that failed at once."""
    found = trajectory((), stop=StopReason.AGENT_ERROR, final_answer="")

    assert points_of(found) == []
    assert raw_record(found, COT, ())["trys"] == [{"chain": [], "win": False}]
    assert raw_record(found, DFS, ())["tree"]["tree"]["children"] == []


@pytest.mark.parametrize(
    "make", [raw_record, lambda found, _, named: converted_record(found, named)], ids=["raw", "converted"]
)
def test_ours_come_back_with_the_path_that_led_to_the_answer(make: Callable[..., dict[str, Any]]) -> None:
    """Calls, observations, answer and the way it stopped; of a raw search also the other branches."""
    found = search()
    record = orjson.loads(orjson.dumps(make(found, DFS, OfferedFunctions().functions(found))))
    reader = raw_in if "answer_generation" in record else converted_in

    again = reader.read_record(record, "a", "g", "7").trajectory

    assert essence(again) == essence(found)
    if reader is raw_in:
        assert again.tree
        assert [node.step.function for node in again.tree if node.step] == ["f", FINISH, "g", FINISH]


def essence(found: Trajectory) -> dict[str, Any]:
    """All that scoring looks at, and the thoughts in their places."""
    return {
        "query": found.query,
        "tools": found.available_tools,
        "steps": [(s.function, s.arguments, s.observation, s.error, s.hallucinated) for s in found.steps],
        "stop": found.stop,
        "final_answer": found.final_answer,
        "answer_hash": found.answer_hash,
        "model_calls": found.usage.model_calls,
        "thoughts": [(number, p.thought) for number, p in enumerate(path_of(points_of(found))) if p.thought],
    }


@pytest.mark.parametrize("folder", ["answers", "model_predictions_converted", "trajectories"])
def test_official_answers_lose_nothing_that_scoring_uses(real_data: Path, folder: str) -> None:
    """In, out in both forms, and in again; CoT and DFS, ToolBench's own too."""
    n = 0
    for path in find_files(real_data / folder):
        for record in read_records(read_source(path)):
            assert not isinstance(record, Skipped)
            found = record.trajectory
            method = method_of([found])
            written = orjson.loads(
                orjson.dumps(raw_record(found, method, OfferedFunctions().functions(found)))
            )
            again = raw_in.read_record(written, found.agent, found.group, found.query_id).trajectory
            assert essence(again) == essence(found)
            written = orjson.loads(orjson.dumps(converted_record(found, OfferedFunctions().functions(found))))
            again = converted_in.read_record(written, found.agent, found.group, found.query_id).trajectory
            assert {**essence(again), "model_calls": 0} == {**essence(found), "model_calls": 0}
            n += 1

    assert n == {"answers": 21, "model_predictions_converted": 6, "trajectories": 600}[folder]


async def test_functions_are_written_as_they_were_offered(sqlite_store: Store) -> None:
    """With descriptions and parameters, also where the query does not name them; else by name."""
    tool = ToolDocument.model_validate(
        {
            "category": "Weather",
            "tool_name": "Sky",
            "tool_description": "Weather.",
            "api_list": [
                {"name": "Now", "required_parameters": [{"name": "city", "description": "Where."}]},
                {"name": "Later"},
            ],
        }
    )
    query = Query(query_id="7", group="g", text="Why?", apis=(ApiRef("Weather", "sky", "now"),))
    dataset = await sqlite_store.datasets.create("d")
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_tools(connection, dataset.id, [tool])
        await sqlite_store.datasets.put_queries(connection, dataset.id, [query])
    run = await sqlite_store.runs.create("r", Manifest(dataset="d", dataset_hash="", agent="a"), {"g": ["7"]})
    names = ("now_for_sky", "later_for_sky", "elsewhere")
    found = trajectory((call("f"), call(FINISH, ANSWER))).model_copy(update={"available_tools": names})

    functions = (await offer_of(sqlite_store, run, await load_queries(sqlite_store, run))).functions(
        found, with_finish=True
    )

    assert [function["name"] for function in functions] == [*names, FINISH]
    assert functions[0]["parameters"]["properties"]["city"] == {"type": "string", "description": "Where."}
    assert functions[1]["parameters"]["properties"] == {}
    assert functions[2] == {"name": "elsewhere"}
    assert functions[3]["parameters"]["required"] == ["return_type"]
    tools = openai_record(found, functions)["tools"]
    assert [tool["function"] for tool in tools] == functions
