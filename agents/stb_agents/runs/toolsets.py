"""Which APIs a query offers: those that it names, or those that a retriever finds among all (``--tools``)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from stb_agents.runs.selection import Selection, documents_of
from stb_core.errors import UsageError
from stb_core.retrieval.retriever import Retriever
from stb_core.values.tools import ToolDocument

GIVEN = "given"
_RETRIEVED = re.compile(r"retrieved:([1-9]\d{0,3})")


def number_to_retrieve(tools: str) -> int | None:
    """K of ``retrieved:K``; None for ``given``.

    Raises:
        UsageError: it is neither.
    """
    if tools == GIVEN:
        return None
    found = _RETRIEVED.fullmatch(tools)
    if not found:
        raise UsageError(
            f"{tools!r} does not say which tools a query offers.",
            hint=f"Write {GIVEN}, or retrieved:K with a number, such as retrieved:10.",
        )
    return int(found[1])


@dataclass(frozen=True)
class Toolset:
    """The ``k`` APIs that suit a query best, in place of those that it names."""

    retriever: Retriever
    k: int
    tools: tuple[ToolDocument, ...]

    def noted(self, selection: Selection) -> Selection:
        """The selection with a note of how its APIs are found, which goes into the manifest."""
        note = {"retriever": self.retriever.name, "k": self.k, "index_hash": self.retriever.index_hash}
        return replace(selection, asked_for={**selection.asked_for, "tools": note})

    async def found_for(self, selection: Selection) -> Selection:
        """The selection with the APIs that were found for each of its queries.

        Raises:
            ModelUnavailableError: the retriever's endpoint does not answer.
        """
        ranks = await self.retriever.rank([query.text for query in selection.queries], self.k)
        queries = [
            query.model_copy(update={"apis": tuple(refs)})
            for query, refs in zip(selection.queries, ranks, strict=True)
        ]
        wanted = {ref for refs in ranks for ref in refs}
        return replace(selection, queries=tuple(queries), apis=documents_of(self.tools, wanted))
