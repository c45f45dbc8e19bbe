"""What endpoints do when something is off, in each role: the page says what is observed, and no score misleads."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from endpoint_behaviours import BEHAVIOURS, INTRODUCTION, PAGE, ROLES, EndpointBehaviour, observe, row_text
from llm_server import LLMServer, llm, llm_server
from stb_core.llm.repeats import MAX_REQUESTS

__all__ = ["llm", "llm_server"]


MOST_REPLIES = {"dfsdt": 2 * MAX_REQUESTS}
"""Most replies to one question; a search with a width of two asks the same for each of two branches."""


@cache
def lines_of_page() -> list[str]:
    """The page, line by line."""
    return PAGE.read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.name)
async def test_each_behaviour_ends_as_the_page_says(
    behaviour: EndpointBehaviour, llm: LLMServer, sqlite_store_url: str, tmp_path: Path
) -> None:
    """Where the endpoint refused, or gave no usable reply, no score is complete without a headline.

    No reply is asked for more than three times, and every token that the endpoint counted is on record.
    """
    row = await observe(behaviour, sqlite_store_url, llm, tmp_path)

    assert row_text(behaviour, row) in lines_of_page()
    misleading = [
        role
        for role, cell in zip(ROLES, row, strict=True)
        if cell.exit_code == 0
        and cell.counts
        and not cell.headline
        and not (behaviour.has_words and cell.end == "answered")
    ]
    assert behaviour.is_usable or misleading == []
    assert all(cell.exit_code for cell in row if not cell.counts)
    asked = {role: cell.most_replies for role, cell in zip(ROLES, row, strict=True)}
    assert {
        role: count for role, count in asked.items() if count > MOST_REPLIES.get(role, MAX_REQUESTS)
    } == {}
    assert [cell.given for cell in row] == [cell.recorded for cell in row]


def test_the_page_has_nothing_else() -> None:
    """After a change of the table: python tests/endpoint_behaviours.py."""
    head = INTRODUCTION.splitlines()
    rows = [line for line in lines_of_page() if line.startswith("| ")][1:]

    assert head == lines_of_page()[: len(head)]
    assert [behaviour.name for behaviour in BEHAVIOURS] == [row.split(" | ")[0][2:] for row in rows]
