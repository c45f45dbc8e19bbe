"""Retrieval by meaning: the cosine between the vectors of a text and of API documents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import orjson

from stb_core.llm.embeddings import Embedding, Vectors
from stb_core.values.tools import ApiRef

# An endpoint's vectors are alike from call to call, not equal to the last bit.
_DIGITS = 6


class Dense:
    """Ranks by an embedding; the documents are embedded once, when they are first needed.

    Args:
        texts: the document of each API.
        embedding: makes the vectors.
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
        """Of every document and the embedding's name: vectors cannot be known before they are paid for."""
        documents = [[*ref, text] for ref, text in self._texts.items()]
        found = {"embedding": self.name, "documents": documents}
        return hashlib.sha256(orjson.dumps(found)).hexdigest()

    async def rank(self, texts: Sequence[str], k: int) -> list[list[ApiRef]]:
        """See ``Retriever``."""
        if not self._refs or not texts:
            return [[] for _ in texts]
        if self._vectors is None:
            self._vectors = await self._embedding.embed(list(self._texts.values()))
        asked = await self._embedding.embed(texts)
        scores = np.round(asked @ self._vectors.T, _DIGITS)
        orders = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[self._refs[number] for number in order] for order in orders]
