"""Retrieval by meaning: the cosine between the vector of a text and those of API documents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import orjson

from stb_core.llm.embeddings import Embedding, Vectors
from stb_core.values import ApiRef

# An endpoint's vectors differ from call to call in the last bits.
_DIGITS = 6


class Dense:
    """Ranks APIs by an embedding; their documents are embedded once, before the first ranking.

    Args:
        texts: the document of each API.
        embedding: turns texts into vectors.
    """

    def __init__(self, texts: Mapping[ApiRef, str], embedding: Embedding) -> None:
        self._texts = texts
        self._refs = tuple(texts)
        self._embedding = embedding
        self._vectors: Vectors | None = None

    @property
    def name(self) -> str:
        """``PROVIDER/MODEL``."""
        return self._embedding.name

    @property
    def index_hash(self) -> str:
        """Over every document and the embedding's name; not over vectors, which cost money to compute."""
        documents = [[*ref, text] for ref, text in self._texts.items()]
        content = {"embedding": self.name, "documents": documents}
        return hashlib.sha256(orjson.dumps(content)).hexdigest()

    async def rank(self, texts: Sequence[str], k: int) -> list[list[ApiRef]]:
        """See ``Retriever``."""
        if not self._refs or not texts:
            return [[] for _ in texts]
        if self._vectors is None:
            self._vectors = await self._embedding.embed(list(self._texts.values()))
        queries = await self._embedding.embed(texts)
        scores = np.round(queries @ self._vectors.T, _DIGITS)
        orders = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[self._refs[number] for number in order] for order in orders]
