"""``stb demo`` does the whole job offline, the same each time."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import REPOSITORY
from stb_core.cli.demo import AGENTS, demo_data
from stb_core.values.names import standardize_parameter
from stb_core.values.queries import STANDARD_GROUPS

Stb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def first(demo_folder: Path) -> dict[str, Any]:
    """What the demo printed as JSON in the shared folder."""
    document: dict[str, Any] = json.loads((demo_folder / "demo.json").read_text())
    return document


def faithful(document: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Rates by run and group."""
    return {
        (row["run"], row["group"]): row["value"]
        for row in document["rows"]
        if row["block"] == "faithful" and not row.get("run_b")
    }


def test_both_agents_are_scored_on_every_group(first: dict[str, Any]) -> None:
    """Each of the two runs has a rate for the six groups, ``macro`` and ``micro``."""
    groups = Counter(group for _, group in faithful(first))

    assert dict.fromkeys((*STANDARD_GROUPS, "macro", "micro"), len(AGENTS)) == groups


def test_the_careful_agent_is_clearly_better(first: dict[str, Any]) -> None:
    """The two agents differ by more than 30 points, and neither is at an end of the scale."""
    rates = faithful(first)
    careful, hasty = (rates[run, "macro"] for run in first["runs"])

    assert 100 > careful > hasty + 30 > 30


def test_the_scores_are_complete_and_labelled(first: dict[str, Any]) -> None:
    """No answer is missing, no verdict failed, and every row says that it compares with nothing."""
    rows = [row for row in first["rows"] if not row.get("run_b")]

    assert {(True, 0, False)} == {(row["complete"], row["n_error"], row["comparable"]) for row in rows}


def test_every_value_lies_within_its_interval(first: dict[str, Any]) -> None:
    """Of the scores of both blocks, and of the differences; not one misses it by the last digit."""
    rows = [row for row in first["rows"] if row["ci_low"] is not None]

    assert {row["block"] for row in rows} == {"faithful", "reference"}
    assert [row for row in rows if not row["ci_low"] <= row["value"] <= row["ci_high"]] == []


def test_a_second_run_gives_the_same_numbers(first: dict[str, Any], stb: Stb, tmp_path: Path) -> None:
    """In an empty folder, with settings and keys in the environment that it must not heed."""
    environment = {"STB_DATASET": "other", "STB_DATABASE_URL": "postgresql://nowhere/x", "STB_JUDGE": "a/b"}

    again = stb("demo", "elsewhere", "--json", env=environment)

    assert first["rows"] == json.loads(again.stdout)["rows"]
    assert (tmp_path / "elsewhere" / ".stb" / "stb.db").is_file()


def test_the_table_names_agents_and_next_steps(demo_folder: Path, stb: Stb) -> None:
    """A person sees the commands, the warning, the table (that of the README) and where to look."""
    done = stb("demo", demo_folder)

    assert 0 == done.returncode
    assert ["$ stb data import", "$ stb serve --dat", "$ stb run -a scri", "$ stb run -a scri"] == [
        line[:17] for line in done.stderr.splitlines()[:4]
    ]
    for text in ("NOT COMPARABLE", *AGENTS, "macro", f"cd {demo_folder}", "stb ls"):
        assert text in done.stdout
    shown = re.search(
        r"^```text\n(.*?)^```$", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    printed = {" ".join(line.split()) for line in done.stdout.splitlines()}
    assert shown
    assert {" ".join(line.split()) for line in shown[1].splitlines()} <= printed


@pytest.mark.linux
def test_a_folder_that_cannot_be_made(stb: Stb) -> None:
    """One line says so."""
    done = stb("demo", "/proc/demo")

    assert 1 == done.returncode
    assert (
        "stb: The folder /proc/demo cannot be made (No such file or directory). "
        "Name one that can be written.\n"
    ) == done.stderr


def queries() -> list[dict[str, Any]]:
    """All queries of the bundled dataset, as they stand in its files."""
    files = sorted((demo_data() / "solvable_queries" / "test_instruction").glob("*.json"))
    return [query for file in files for query in json.loads(file.read_text())]


def tools() -> dict[tuple[str, str], dict[str, Any]]:
    """All tool documents by category and name."""
    return {
        (path.parent.name, document["tool_name"]): document
        for path in sorted((demo_data() / "tools").rglob("*.json"))
        for document in [json.loads(path.read_text())]
    }


def test_the_dataset_has_the_promised_size() -> None:
    """Ten tools with 39 APIs in seven categories, and six queries in each group."""
    documents = tools()

    assert 10 == len(documents)
    assert 39 == sum(len(document["api_list"]) for document in documents.values())
    assert 7 == len({category for category, _ in documents})
    assert 36 == len({query["query_id"] for query in queries()})


def test_queries_repeat_the_documents_faithfully() -> None:
    """The API documents within the queries are those of the tools, and relevant APIs are offered."""
    documents = tools()

    for query in queries():
        offered = {(api["tool_name"], api["api_name"]) for api in query["api_list"]}
        assert {tuple(pair) for pair in query["relevant APIs"]} <= offered
        for api in query["api_list"]:
            tool = documents[api["category_name"], api["tool_name"]]
            (document,) = (one for one in tool["api_list"] if one["name"] == api["api_name"])
            assert document["description"] == api["api_description"]
            assert document["required_parameters"] == api["required_parameters"]
            assert document["optional_parameters"] == api["optional_parameters"]


def test_groups_use_as_many_tools_as_they_say() -> None:
    """G1 needs one tool, G2 several of one category, G3 several across categories."""
    folder = demo_data() / "solvable_queries" / "test_instruction"
    category = {name: category for category, name in tools()}

    for group in STANDARD_GROUPS:
        for query in json.loads((folder / f"{group}.json").read_text()):
            used = {tool for tool, _ in query["relevant APIs"]}
            places = {category[tool] for tool in used}
            expected = {"G1": (1, 1), "G2": (2, 1), "G3": (len(used), len(places))}[group[:2]]
            assert expected == (len(used), len(places))
            assert group[:2] != "G3" or len(places) > 1


def test_every_api_has_a_recording_of_its_example() -> None:
    """The call with the documented defaults is recorded, so that a first try gets an answer."""
    lines = (demo_data() / "responses.jsonl").read_text().splitlines()[1:]
    recorded = {
        (one["tool"], one["api"], json.dumps(one["arguments"], sort_keys=True))
        for one in map(json.loads, lines)
    }

    for document in tools().values():
        for api in document["api_list"]:
            arguments = {standardize_parameter(p["name"]): p["default"] for p in api["required_parameters"]}
            name = api["name"].lower().replace(" ", "_")
            assert (document["standardized_name"], name, json.dumps(arguments, sort_keys=True)) in recorded
