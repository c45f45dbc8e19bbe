"""Texts become vectors of length 1, by an endpoint over real HTTP."""

from __future__ import annotations

import numpy as np
import pytest

from llm_server import LLMServer
from stb_core.errors import ModelUnavailableError
from stb_core.llm.embeddings import EndpointEmbedding, normalize_rows
from stb_core.llm.protocol import Endpoint


def embedding_at(url: str) -> EndpointEmbedding:
    return EndpointEmbedding("stub/vectors", Endpoint(url, "sk-secret-key", "STUB_BASE_URL", "STUB_API_KEY"))


async def test_there_is_one_vector_per_text(llm: LLMServer) -> None:
    """In the order of the texts, over several requests and for an empty text too."""
    texts = [f"text {number}" for number in range(70)] + [""]

    vectors = await embedding_at(llm.url).embed(texts)

    assert len(texts) == len(vectors)
    assert np.allclose(1.0, np.linalg.norm(vectors, axis=1))
    assert np.allclose(vectors[69], (await embedding_at(llm.url).embed(["text 69"]))[0])


async def test_an_error_names_the_variable_and_not_the_key(llm: LLMServer) -> None:
    """The endpoint's own words are masked."""
    llm.behaviour.required_key = "other"

    with pytest.raises(ModelUnavailableError, match=r"returns no embeddings.*Check STUB_BASE_URL") as caught:
        await embedding_at(llm.url).embed(["text"])

    assert "sk-secret-key" not in str(caught.value)


def test_a_row_of_zeros_stays() -> None:
    """It has no direction."""
    assert [[0.0, 0.0], [0.6, 0.8]] == normalize_rows(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist()
