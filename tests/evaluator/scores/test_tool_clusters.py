"""Queries that share tools hang together, and intervals can allow for it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from evaluator_makers import log
from stb_core.values.names import standardize_category, standardize_tool
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef
from stb_evaluator.scores.pass_rate import score
from stb_evaluator.scores.tool_clusters import tool_clusters
from stb_evaluator.scores.verdict_table import build_verdict_table


def query(query_id: str, *tools: str) -> Query:
    apis = tuple(ApiRef("C", tool, "a") for tool in tools)
    return Query(query_id=query_id, group="G1_tool", text="?", apis=apis)


def test_a_chain_of_shared_tools_is_one_cluster() -> None:
    """Whatever the order of the queries."""
    queries = [query("1", "a", "b"), query("2", "c"), query("3", "b", "d"), query("4", "d"), query("5")]

    for order in (queries, queries[::-1]):
        found = tool_clusters(order)
        assert found["G1_tool", "1"] == found["G1_tool", "3"] == found["G1_tool", "4"]
        assert len(set(found.values())) == 3


def test_the_official_groups_have_few_collections_of_tools(real_data: Path) -> None:
    """Three in G3_instruction and seven in G2_category: far fewer than queries."""
    queries = [
        Query(
            query_id=str(one["query_id"]),
            group=path.stem,
            text="?",
            apis=tuple(
                ApiRef(standardize_category(a["category_name"]), standardize_tool(a["tool_name"]), "a")
                for a in one["api_list"]
            ),
        )
        for path in (real_data / "release" / "solvable_queries" / "test_instruction").glob("*.json")
        for one in json.loads(path.read_text())
    ]

    counts = Counter(group for group, _ in {(g, c) for (g, _), c in _by_group(queries).items()})
    assert (counts["G3_instruction"], counts["G2_category"]) == (3, 7)


def _by_group(queries: list[Query]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for group in {q.group for q in queries}:
        found |= tool_clusters([q for q in queries if q.group == group])
    return found


def test_clusters_make_an_interval_honest() -> None:
    """Sixty queries in three clusters that win and lose together are worth three, not sixty."""
    answers = {str(n): "s" if n % 3 else "n" for n in range(60)}
    done, marks = log(answers)
    table = build_verdict_table({"G1_tool": list(answers)}, 1, done, marks)
    clusters = {("G1_tool", str(n)): f"c{n % 3}" for n in range(60)}

    plain, clustered = (score(table, "faithful", clusters=c)[0] for c in (None, clusters))

    assert plain.ci_low is not None
    assert clustered.ci_low is not None
    assert plain.value == clustered.value == pytest.approx(200 / 3)
    assert clustered.ci_low < plain.ci_low - 10
    assert clustered.interval_method == "cluster-robust"


def test_clusters_of_one_query_change_little() -> None:
    """Every query its own cluster is the plain case, but for the method."""
    answers = {str(n): "sun"[n % 3] for n in range(90)}
    done, marks = log(answers)
    table = build_verdict_table({"G1_tool": list(answers)}, 1, done, marks)
    clusters = {("G1_tool", i): i for i in answers}

    plain, alone = (score(table, "faithful", clusters=c)[0] for c in (None, clusters))

    assert alone.ci_low == pytest.approx(plain.ci_low, abs=1)
    assert alone.ci_high == pytest.approx(plain.ci_high, abs=1)


def test_few_collections_are_said_first(run_stb, real_data: Path) -> None:
    """A note names the groups; --clustered never makes an interval shorter."""
    run_stb("data", "import", real_data / "release", "--name", "real", "--json")
    run_stb("import", real_data / "pass_rate_results" / "toolllama_sft_cot", "--json")

    plain = run_stb("score", "toolllama_sft_cot", "--json").document
    clustered = run_stb("score", "toolllama_sft_cot", "--clustered", "--json").document

    def width(document: dict, group: str) -> float:
        row = next(r for r in document["rows"] if (r["block"], r["group"]) == ("faithful", group))
        return row["ci_high"] - row["ci_low"]

    notes = [line for line in plain["headline"] if line.startswith("NOTE: the ")]
    assert ["G2_category" in notes[0], "G3_instruction use only 3" in notes[1]] == [True, True]
    for group in ("G3_instruction", "G2_category", "G1_tool", "macro"):
        assert width(clustered, group) >= width(plain, group)
    assert width(clustered, "G2_category") > 1.2 * width(plain, "G2_category")
