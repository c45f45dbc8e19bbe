"""Retrieval finds the APIs that suit a text, the same in every process, by words or by meaning."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_server import LLMServer, llm, llm_server
from stb_core.errors import ModelUnavailableError, UsageError
from stb_core.llm.embeddings import Vectors
from stb_core.retrieval.bm25 import Bm25
from stb_core.retrieval.dense import Dense
from stb_core.retrieval.retriever import api_texts, open_retriever
from stb_core.settings import Settings
from stb_core.values.tools import ApiRef, ToolDocument

__all__ = ["llm", "llm_server"]


def tool(name: str, *apis: dict[str, Any], category: str = "Data", about: str = "") -> ToolDocument:
    return ToolDocument.model_validate(
        {"category": category, "tool_name": name, "tool_description": about, "api_list": list(apis)}
    )


TOOLS = (
    tool(
        "Sky Watch",
        {"name": "Current", "description": "The weather now.", "required_parameters": [{"name": "city"}]},
        {"name": "getForecastByCity", "description": "Forecasts for days to come."},
        category="Weather",
    ),
    tool("Inns", {"name": "Search", "description": "Finds rooms to stay."}, about="Hotels and inns."),
    tool("Coins", {"name": "Rate", "optional_parameters": [{"name": "currency"}]}),
)
CURRENT = ApiRef("Weather", "sky_watch", "current")
FORECAST = ApiRef("Weather", "sky_watch", "getforecastbycity")
SEARCH = ApiRef("Data", "inns", "search")
RATE = ApiRef("Data", "coins", "rate")


def test_the_text_of_an_api_is_made_of_names_and_descriptions() -> None:
    """Those of the tool and the API, and the names of parameters."""
    assert api_texts(TOOLS) == {
        CURRENT: "Weather\nSky Watch\nCurrent\nThe weather now.\ncity",
        FORECAST: "Weather\nSky Watch\ngetForecastByCity\nForecasts for days to come.",
        SEARCH: "Data\nInns\nHotels and inns.\nSearch\nFinds rooms to stay.",
        RATE: "Data\nCoins\nRate\ncurrency",
    }


@pytest.mark.parametrize(
    ("text", "k", "found"),
    [
        ("Is there a hotel with a room?", 3, [SEARCH]),
        ("What will the weather be, forecast it", 2, [FORECAST, CURRENT]),
        ("currencies", 9, [RATE]),
        ("data", 1, [RATE]),
        ("the of and", 5, []),
        ("", 5, []),
        ("zebra", 5, []),
    ],
)
async def test_bm25_ranks_by_shared_words(text: str, k: int, found: list[ApiRef]) -> None:
    """In any form of a word and inside names; APIs that share no word are not ranked."""
    assert await Bm25(api_texts(TOOLS)).rank([text], k) == [found]


async def test_equals_keep_the_order_of_the_dataset() -> None:
    """Ranks depend on nothing else."""
    tools = [tool(name, {"name": "Same"}) for name in ("a one", "b two", "c three")]

    (found,) = await Bm25(api_texts(tools)).rank(["same"], 3)

    assert [ref.tool for ref in found] == ["a_one", "b_two", "c_three"]


async def test_a_dataset_without_documents_has_nothing_to_find() -> None:
    """And is no error."""
    assert await Bm25({}).rank(["weather"], 3) == [[]]
    assert await Bm25({CURRENT: "the"}).rank(["weather"], 3) == [[]]
    assert await Dense({}, Letters()).rank(["weather"], 3) == [[]]


@given(st.text(), st.integers(1, 5))
async def test_any_text_can_be_asked(text: str, k: int) -> None:
    """The result is at most k different APIs."""
    (found,) = await Bm25(api_texts(TOOLS)).rank([text], k)

    assert len(found) == len(set(found)) <= k


def test_the_hash_of_an_index_depends_on_its_documents() -> None:
    """It is the same in other processes, whatever their hash seed."""
    program = (
        "from stb_core.retrieval.bm25 import Bm25; from stb_core.values.tools import ApiRef;"
        "print(Bm25({ApiRef('A', 'b', 'c'): 'Some words', ApiRef('A', 'b', 'd'): 'more'}).index_hash)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert hashes == {Bm25({ApiRef("A", "b", "c"): "Some words", ApiRef("A", "b", "d"): "more"}).index_hash}
    assert hashes != {Bm25({ApiRef("A", "b", "c"): "Other words", ApiRef("A", "b", "d"): "more"}).index_hash}


class Letters:
    """An embedding that counts letters, and how often it was asked."""

    name = "test/letters"

    def __init__(self) -> None:
        self.asked = 0

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += len(texts)
        counts = np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float64)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


async def test_an_embedding_ranks_by_the_cosine() -> None:
    """Documents are embedded once."""
    embedding = Letters()
    retriever = Dense({CURRENT: "aaa", SEARCH: "ab", RATE: "ccc"}, embedding)

    assert await retriever.rank(["aa", "bb"], 2) == [[CURRENT, SEARCH], [SEARCH, CURRENT]]
    assert await retriever.rank(["c"], 1) == [[RATE]]
    assert embedding.asked == 3 + 2 + 1


async def test_an_embedding_is_asked_at_its_endpoint(llm: LLMServer) -> None:
    """The text of a document is nearest to that document."""
    settings = Settings("", {}, {"STUB_BASE_URL": llm.url})
    retriever = open_retriever(TOOLS, "stub/vectors", settings)

    ((first, *_),) = await retriever.rank([api_texts(TOOLS)[SEARCH]], 2)

    assert (retriever.name, first) == ("stub/vectors", SEARCH)
    assert len(retriever.index_hash) == 64


async def test_an_endpoint_that_returns_no_embeddings_is_named(llm: LLMServer) -> None:
    """With the variable to check."""
    llm.behaviour.required_key = "other"
    settings = Settings("", {}, {"STUB_BASE_URL": llm.url})

    with pytest.raises(ModelUnavailableError, match="Check STUB_BASE_URL"):
        await open_retriever(TOOLS, "stub/vectors", settings).rank(["weather"], 1)


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what to do without it."""
    monkeypatch.delitem(sys.modules, "stb_core.retrieval.bm25")
    monkeypatch.setitem(sys.modules, "bm25s", None)

    with pytest.raises(UsageError, match=r"stabletoolbench\[retrieval\]'; or choose an --embedding"):
        open_retriever(TOOLS, "", Settings("", {}, {}))
