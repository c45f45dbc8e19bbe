"""Vectors of texts without a model, from hashed character trigrams."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from stb_core.llm.embeddings import Vectors, normalize_rows


class CharacterTrigrams:
    """Counts of byte trigrams, hashed into a fixed number of places: surface likeness, not meaning.

    Needs no model and no download, and is the same on every machine.
    """

    DIMENSIONS = 4096

    @property
    def name(self) -> str:
        """Its name in a report."""
        return "hashed character trigrams"

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of shape (n_texts, 4096)."""
        vectors = np.zeros((len(texts), self.DIMENSIONS))
        for row, text in enumerate(texts):
            raw = text.encode("utf-8", "replace")
            for start in range(max(1, len(raw) - 2)):
                vectors[row, zlib.crc32(raw[start : start + 3]) % self.DIMENSIONS] += 1
        return normalize_rows(vectors)
