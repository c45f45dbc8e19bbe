"""Several models vote on whether a query can be solved; the majority decides and votes are kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from llm_server import Answer, LLMServer, text
from stb_core.store import open_store
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef, ToolDocument

TOOL = ToolDocument.model_validate(
    {
        "category": "C",
        "tool_name": "Weather",
        "api_list": [
            {"name": "now", "description": "Sky of a city", "required_parameters": [{"name": "city"}]}
        ],
    }
)
# Which of the three voters find a query solvable, by a word in its text.
MINDS = {"easy": "abc", "likely": "ab", "doubtful": "a", "absurd": ""}


@pytest.fixture(name="asked")
def _asked(sqlite_store_url: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch) -> LLMServer:
    """A dataset of four queries in two groups, and three voters with minds of their own."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        dataset = await store.datasets.create("d")
        queries = [
            Query(
                query_id=str(n),
                group="G1_tool" if n < 3 else "G2_category",
                text=f"An {word} question?",
                apis=(ApiRef("C", "weather", "now"),),
            )
            for n, word in enumerate(MINDS)
        ]
        async with store.writing() as connection:
            await store.datasets.put_tools(connection, dataset.id, [TOOL])
            await store.datasets.put_queries(connection, dataset.id, queries)
        await store.close()

    def rule(body: dict[str, Any]) -> Answer:
        prompt = body["messages"][-1]["content"]
        voters = next(voters for word, voters in MINDS.items() if word in prompt)
        status = "solvable" if body["model"] in voters else "unsolvable"
        return text(json.dumps({"reason": "so", "task_status": status}))

    asyncio.run(fill())
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    llm.rule = rule
    return llm


VOTERS = "stub/a,stub/b,stub/c"


def test_the_majority_decides_and_votes_are_kept(run_stb, asked: LLMServer) -> None:
    """Two of three suffice; the same command again asks nothing."""
    first = run_stb("solvable", "d", "--judge", VOTERS, "--json").document
    count = asked.count
    again = run_stb("solvable", "d", "--judge", VOTERS, "--json").document

    assert {v["query"]: v["solvable"] for v in first["votes"]} == {
        "0": True,
        "1": True,
        "2": False,
        "3": False,
    }
    assert first["votes"][1]["votes"] == {"stub/a": "solvable", "stub/b": "solvable", "stub/c": "unsolvable"}
    assert [(r["group"], r["queries"], r["solvable"]) for r in first["rows"]] == [
        ("G1_tool", 3, 2),
        ("G2_category", 1, 0),
    ]
    assert (count, asked.count, again) == (12, 12, first)


def test_voters_see_the_documents_of_the_apis(run_stb, asked: LLMServer) -> None:
    """Names, description and parameters, fenced with the request."""
    run_stb("solvable", "d:G2_category", "--judge", "stub/a")

    (body,) = asked.requests
    prompt = body["messages"][-1]["content"]
    assert all(words in prompt for words in ("absurd question", "Weather", "Sky of a city", "city"))


def test_ids_are_written_in_the_official_form(run_stb, asked: LLMServer, tmp_path: Path) -> None:
    """One file a group, also for a group of which nothing is left."""
    run_stb("solvable", "d", "--judge", VOTERS, "-o", "out")

    found = {p.name: json.loads(p.read_text()) for p in (tmp_path / "out" / "test_query_ids").iterdir()}
    assert found == {"G1_tool.json": {"0": 0, "1": 0}, "G2_category.json": {}}


def test_a_vote_that_fails_leaves_the_query_undecided(run_stb, asked: LLMServer) -> None:
    """Exit code 1; a further call asks for that vote alone."""
    obliging = asked.rule
    asked.rule = lambda body: text("hm") if body["model"] == "c" else obliging(body)

    broken = run_stb("solvable", "d:G1_tool", "--judge", VOTERS, "--json")
    asked.rule, before = obliging, asked.count
    mended = run_stb("solvable", "d:G1_tool", "--judge", VOTERS, "--json")

    assert (broken.code, mended.code) == (1, 0)
    assert {v["solvable"] for v in broken.document["votes"]} == {None}
    assert asked.count - before == 3


def test_votes_are_no_run_of_an_agent(run_stb, asked: LLMServer) -> None:
    """They are not listed, and not scored as the latest run."""
    run_stb("solvable", "d", "--judge", "stub/a")

    assert run_stb("ls", "--json").document == {"rows": []}
    assert run_stb("score").err.startswith("stb: There are no runs yet.")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("nope", "--judge", "stub/a"), "stb: There is no dataset 'nope'."),
        (("d:G9", "--judge", "stub/a"), "stb: d:G9 has no queries."),
        (("d", "--judge", "x"), "stb: 'x' does not name a model."),
    ],
)
def test_what_cannot_be_voted_on_is_one_line(
    run_stb, asked: LLMServer, args: tuple[str, ...], line: str
) -> None:
    """Exit code 2, nothing asked."""
    ended = run_stb("solvable", *args)

    assert (ended.code, ended.out, asked.count) == (2, "", 0)
    assert ended.err.startswith(line)
