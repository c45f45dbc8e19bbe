"""Opening judges by their names."""

from __future__ import annotations

import pytest

from stb_evaluator.judges.opening import is_floating


@pytest.mark.parametrize(
    ("name", "floating"),
    [
        ("openai/gpt-4o", True),
        ("openai/gpt-4o-mini", True),
        ("openai/gpt-4-turbo-preview", True),
        ("openai/gpt-4o-2024-08-06", False),
        ("openai/gpt-4-0613", False),
        ("anthropic/claude-sonnet-4-20250514", False),
        ("mistral/mistral-large-2411", False),
        ("mistral/mistral-large-latest", True),
        ("gemini/gemini-2.5-pro", True),
        ("vllm/Qwen3-32B", False),
    ],
)
def test_a_hosted_name_without_a_date_may_move(name: str, floating: bool) -> None:
    """A model on an endpoint of one's own does not move by itself."""
    assert is_floating(name) is floating
