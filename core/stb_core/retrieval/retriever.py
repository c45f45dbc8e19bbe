"""The interface of retrievers, the texts that they search, and how to open one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from stb_core.errors import UsageError
from stb_core.llm import endpoint_of
from stb_core.settings import Settings
from stb_core.values import ApiDocument, ApiRef, ToolDocument


class Retriever(Protocol):
    """Ranks the APIs of a dataset by how well they match a text; the same text gives the same ranks."""

    @property
    def name(self) -> str:
        """``bm25``, or ``PROVIDER/MODEL`` of an embedding."""
        ...

    @property
    def index_hash(self) -> str:
        """SHA-256 over the searched texts and the method: equal hashes mean equal ranks."""
        ...

    async def rank(self, texts: Sequence[str], k: int) -> list[list[ApiRef]]:
        """Up to ``k`` APIs per text, the best first.

        Raises:
            ModelUnavailableError: an embedding's endpoint does not answer.
        """
        ...


def open_retriever(tools: Iterable[ToolDocument], embedding: str, settings: Settings) -> Retriever:
    """Open a retriever over the APIs of tools; no request is sent to an endpoint yet.

    Args:
        tools: all tools of a dataset.
        embedding: ``PROVIDER/MODEL`` of an embedding; "" selects BM25.
        settings: with the addresses of endpoints.

    Raises:
        UsageError: the embedding's address is not known, or BM25's package is not installed.
    """
    texts = api_texts(tools)
    if embedding:
        from stb_core.llm.embeddings import EndpointEmbedding  # noqa: PLC0415 - slow to import
        from stb_core.retrieval.dense import Dense  # noqa: PLC0415

        return Dense(texts, EndpointEmbedding(embedding, endpoint_of(embedding, settings)))
    try:
        from stb_core.retrieval.bm25 import Bm25  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise UsageError(
            "Retrieval needs the packages bm25s and snowballstemmer.",
            hint="Install them: pip install 'stabletoolbench[retrieval]'; or choose an --embedding.",
        ) from None
    return Bm25(texts)


def api_texts(tools: Iterable[ToolDocument]) -> dict[ApiRef, str]:
    """The text of each API: the names and descriptions of the API and its tool, and its parameters' names."""
    return {
        ApiRef(tool.category, tool.standard_name, api.standard_name): _text(tool, api)
        for tool in tools
        for api in tool.api_list
    }


def _text(tool: ToolDocument, api: ApiDocument) -> str:
    parameters = (*api.required_parameters, *api.optional_parameters)
    words = (
        tool.category.replace("_", " "),
        tool.tool_name,
        tool.tool_description,
        api.name,
        api.description,
        *(parameter.name for parameter in parameters),
    )
    return "\n".join(filter(None, words))
