"""The APIs that a retriever finds for each query, in place of those that it names (``--tools retrieved:K``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stb_agents.runs.selection import Selection
from stb_core.retrieval import Retriever, open_retriever
from stb_core.settings import Settings
from stb_core.store import Dataset, Store
from stb_core.values import ToolDocument
from stb_core.values.functions import find_offered_apis


@dataclass(frozen=True)
class Toolset:
    """The ``k`` APIs of a dataset that suit a query best."""

    retriever: Retriever
    k: int
    tools: tuple[ToolDocument, ...]
    note: dict[str, Any]
    """How the APIs are found, for the manifest."""

    async def retrieve(self, selection: Selection) -> Selection:
        """The selection, with the APIs that were found for each of its queries.

        Raises:
            ModelUnavailableError: the retriever's endpoint does not answer.
        """
        ranks = await self.retriever.rank([query.text for query in selection.queries], self.k)
        queries = tuple(
            query.model_copy(update={"apis": tuple(refs)})
            for query, refs in zip(selection.queries, ranks, strict=True)
        )
        refs = {ref for refs in ranks for ref in refs}
        return replace(selection, queries=queries, apis=find_offered_apis(self.tools, refs))


async def open_toolset(store: Store, dataset: Dataset, k: int, embedding: str, settings: Settings) -> Toolset:
    """A retriever over all APIs of a dataset.

    Args:
        store: where the dataset is.
        dataset: whose APIs are found.
        k: how many APIs a query offers.
        embedding: ``PROVIDER/MODEL`` that finds them by meaning; "" finds them by words, with BM25.
        settings: where the embedding's endpoint is.
    """
    tools = tuple(await store.datasets.tools(dataset.id))
    retriever = open_retriever(tools, embedding, settings)
    note = {"retriever": retriever.name, "k": k, "index_hash": retriever.index_hash}
    return Toolset(retriever, k, tools, note)
