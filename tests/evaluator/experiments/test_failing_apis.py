"""APIs that stand in for real ones, and really fail."""

from __future__ import annotations

import httpx
from hypothesis import given
from hypothesis import strategies as st

from stb_experiments.failing_apis import is_down, serving_apis
from virtual_server import recorded

NAMES = {"category": "Weather", "tool_name": "sky_watch", "api_name": "current"}


@given(st.text(), st.integers(), st.floats(0, 1), st.floats(0, 1))
def test_apis_down_at_a_share_are_down_at_a_larger_one(api: str, seed: int, a: float, b: float) -> None:
    """Levels are nested; none is down at 0 and all are at 1."""
    low, high = sorted((a, b))

    assert is_down("C", "t", api, low, seed) <= is_down("C", "t", api, high, seed)
    assert (False, True) == (is_down("C", "t", api, 0, seed), is_down("C", "t", api, 1, seed))


async def test_an_api_answers_from_its_recordings_or_fails() -> None:
    """Recorded, not recorded, and down: the last two are errors of the proxy's."""
    asked = [{**NAMES, "tool_input": text} for text in ('{"city": "Oslo"}', '{"city": "Rome"}')]
    found = []
    async with httpx.AsyncClient() as client:
        for share in (0.0, 1.0):
            async with serving_apis([recorded({"city": "Oslo"})], share, 0) as url:
                found += [(await client.post(url, json=body)).json() for body in asked]

    assert ["", "Function executing error...", *["API not working error..."] * 2] == [
        answer["error"] for answer in found
    ]
    assert found[0]["response"] == "sunny"
