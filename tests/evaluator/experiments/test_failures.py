"""APIs that really fail, and what is said of scores meanwhile."""

from __future__ import annotations

import httpx
from hypothesis import given
from hypothesis import strategies as st

from stb_experiments.failing_apis import is_down, serving_apis
from stb_experiments.outcomes import Outcome, changed_recorded, compared, macro
from virtual_server import recorded

SCORES = {("G1_tool", str(n)): float(n % 2) for n in range(200)}
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


def test_the_same_scores_are_equivalent_and_no_recorded_answer_changed() -> None:
    """On 200 queries the interval of no difference lies within ±1.5 points."""
    one = Outcome(SCORES, {}, {"k": "sunny"})

    test = compared(one, one)

    assert (0.0, True, 0) == (test.difference, test.equivalent, changed_recorded(one, one))


def test_a_lost_answer_is_a_change() -> None:
    """Recorded calls that both runs made are compared by what the agent was shown."""
    before = Outcome(SCORES, {}, {"k": "sunny", "only before": "x"})
    after = Outcome(dict.fromkeys(SCORES, 0.0), {}, {"k": "no recording"})

    assert (-0.5, False, 1) == (
        compared(before, after).difference,
        compared(before, after).equivalent,
        changed_recorded(before, after),
    )


def test_groups_count_alike() -> None:
    """The macro score is the mean of the groups' means, whatever their sizes."""
    assert macro({("G1_tool", "1"): 1.0, ("G2_category", "1"): 0.0, ("G2_category", "2"): 0.0}) == 0.5
