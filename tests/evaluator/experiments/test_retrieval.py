"""``stb experiment retrieval`` measures what ``stb run --tools retrieved:K`` would offer."""

from __future__ import annotations

import asyncio
import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import REPOSITORY
from llm_server import LLMServer
from stb_core.store import open_store
from stb_core.values.queries import STANDARD_GROUPS, Query
from stb_core.values.tools import ApiRef
from stb_experiments.retrieval import RetrievalOutcome

DEMO = REPOSITORY / "cache_dumps" / "demo"
REFS = tuple(ApiRef("C", "t", name) for name in "abc")


def found(needed: int, *places: int) -> RetrievalOutcome:
    query = Query(query_id="1", group="g", text="", apis=(), relevant_apis=REFS[:needed])
    return RetrievalOutcome(query, needed, places)


@pytest.mark.parametrize(
    ("places", "k", "recall", "ndcg"),
    [
        ((), 5, 0, 0),
        ((1, 2), 2, 1, 1),
        ((1, 2), 1, 1 / 2, 1),
        ((1, 5), 3, 1 / 2, 1 / (1 + 1 / math.log2(3))),
        ((2, 4), 4, 1, (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))),
    ],
)
def test_two_needed_apis_at_these_places(places: tuple[int, ...], k: int, recall: float, ndcg: float) -> None:
    """Worked by hand from the definitions."""
    assert found(2, *places).recall(k) == pytest.approx(recall)
    assert found(2, *places).ndcg(k) == pytest.approx(ndcg)


def test_groups_and_their_mean_are_reported(
    run_stb: Callable[..., Any], llm: LLMServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For BM25 and an embedding, by k, with intervals; the page shows a line a group."""
    monkeypatch.setenv("STUB_BASE_URL", llm.url)
    run_stb("data", "import", DEMO, "--name", "demo")

    ended = run_stb(
        *("experiment", "retrieval", "-k", "1,10", "--embedding", "stub/vectors", "-o", "out", "--json")
    )

    rows = ended.document["rows"]
    assert ended.code == 0
    assert {(row["retriever"], row["metric"], row["k"]) for row in rows} == {
        (retriever, metric, k)
        for retriever in ("bm25", "stub/vectors")
        for metric in ("recall", "ndcg")
        for k in (1, 10)
    }
    assert [row["group"] for row in rows[:7]] == [*STANDARD_GROUPS, "macro"]
    assert all(row["ci_low"] <= row["value"] + 1e-9 and row["value"] <= row["ci_high"] + 1e-9 for row in rows)
    by_words = {(row["group"], row["k"]): row["value"] for row in rows[:14]}
    assert by_words["macro", 1] < by_words["macro", 10]
    assert by_words["macro", 1] == pytest.approx(sum(by_words[g, 1] for g in STANDARD_GROUPS) / 6)
    page = (tmp_path / "out" / "README.md").read_text()
    assert page.count("| bm25 | macro |") == 2
    assert (tmp_path / "out" / "data.jsonl").read_text().count("\n") == 2 * ended.document["settings"][
        "queries"
    ]


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["-k", "0"], 2, "stb: '0' is not a list of numbers. Use the form -k 1,5,10.\n"),
        (["-d", "demo:G9"], 2, "stb: The dataset 'demo' has no group 'G9'. There are: G1_category."),
        (["-d", "bare"], 2, "stb: No query of 'bare' says which APIs it needs. Import queries with"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    run_stb: Callable[..., Any], sqlite_store_url: str, args: list[str], code: int, line: str
) -> None:
    """In one line."""
    asyncio.run(put_datasets(sqlite_store_url))

    ended = run_stb("experiment", "retrieval", "-d", "demo", *args)

    assert ended.code == code
    assert ended.err.startswith(line)


async def put_datasets(url: str) -> None:
    """One with a query that does not say what it needs, one without any."""
    store = await open_store(url)
    query = Query(query_id="1", group="G1_category", text="", apis=())
    demo = await store.datasets.create("demo")
    await store.datasets.create("bare")
    async with store.writing() as connection:
        await store.datasets.put_queries(connection, demo.id, [query])
    await store.close()


@pytest.mark.slow
def test_the_documented_figures_are_those_of_the_release(
    run_stb: Callable[..., Any], real_data: Path, tmp_path: Path
) -> None:
    """On any machine; another version of NumPy may change the last of 16 digits."""
    run_stb("data", "import", real_data / "release", "--name", "real")

    run_stb("experiment", "retrieval", "-o", "out")

    documented, measured = (
        [row for row in csv.DictReader(path.read_text().splitlines()) if row["retriever"] == "bm25"]
        for path in (REPOSITORY / "docs" / "retrieval" / "rows.csv", tmp_path / "out" / "rows.csv")
    )
    assert [float(row["value"]) for row in measured] == pytest.approx(
        [float(row["value"]) for row in documented], rel=1e-12
    )
    assert {row["group"] for row in measured if row["k"] == "10"} == {*STANDARD_GROUPS, "macro"}
