"""Texts as vectors: the interface, and a dense model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stb_core.errors import ModelUnavailableError
from stb_core.llm.protocol import Endpoint
from stb_core.llm.refusals import in_one_line

Vectors = NDArray[np.float64]

_BATCH = 64
_MAX_CHARACTERS = 8000  # of one text; models read some hundred tokens


class Embedding(Protocol):
    """Turns texts into vectors of length 1."""

    @property
    def name(self) -> str:
        """Its name in reports."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector per text, as a row: shape (n_texts, dimensions)."""
        ...


class EndpointEmbedding:
    """A dense embedding model behind an OpenAI-compatible endpoint, such as one that vLLM serves.

    Args:
        name: ``PROVIDER/MODEL``.
        endpoint: where it is.
    """

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self._name = name
        self._endpoint = endpoint

    @property
    def name(self) -> str:
        """Its name in reports."""
        return self._name

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One vector per text, as a row: shape (n_texts, the model's dimensions).

        Raises:
            ModelUnavailableError: the endpoint does not answer, or refuses.
        """
        import openai  # noqa: PLC0415 - slow

        _, _, model = self._name.partition("/")
        client = openai.AsyncOpenAI(
            api_key=self._endpoint.api_key or "none", base_url=self._endpoint.base_url, max_retries=5
        )
        rows: list[list[float]] = []
        try:
            async with client:
                for start in range(0, len(texts), _BATCH):
                    batch = [text[:_MAX_CHARACTERS] or " " for text in texts[start : start + _BATCH]]
                    reply = await client.embeddings.create(model=model, input=batch, encoding_format="float")
                    rows += [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
        except openai.OpenAIError as problem:
            reason = in_one_line(str(problem), self._endpoint.api_key)
            raise ModelUnavailableError(
                f"{self._name} returns no embeddings: {reason}.", hint=f"Check {self._endpoint.url_variable}."
            ) from None
        return normalize_rows(np.array(rows, dtype=np.float64))


def normalize_rows(vectors: Vectors) -> Vectors:
    """Divide each row by its length; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.where(lengths == 0, 1.0, lengths)
    return scaled
