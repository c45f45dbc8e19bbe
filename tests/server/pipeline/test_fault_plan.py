"""A plan of faults hits what the seed says, and can be written and read."""

from __future__ import annotations

import contextlib
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.errors import UsageError
from stb_core.values.calls import ToolCall
from stb_server.pipeline.fault_plan import MAX_DELAY_S, FaultKind, FaultPlan, parse_faults

CALLS = [ToolCall("Data", f"tool{n}", "api", {"n": m}) for n in range(400) for m in range(2)]


def hit(plan: FaultPlan) -> set[str]:
    return {call.tool for call in CALLS if plan.fault(call)}


@given(st.floats(0, 1), st.floats(0, 1), st.integers())
def test_apis_hit_at_a_lower_share_are_among_those_hit_at_a_higher(one: float, two: float, seed: int) -> None:
    """Raising a share only adds APIs."""
    low, high = sorted((one, two))

    fewer = hit(parse_faults(f"down={low}", seed))

    assert fewer <= hit(parse_faults(f"down={high}", seed))


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 1])
def test_the_share_is_that_of_apis(share: float) -> None:
    """About that share of APIs is down, with all their calls."""
    plan = parse_faults(f"down={share}", 7)

    down = hit(plan)

    assert abs(len(down) / 400 - share) < 0.06
    assert all(plan.fault(call) for call in CALLS if call.tool in down)


def test_a_second_share_is_that_of_calls() -> None:
    """Of the APIs that are hit, only some calls fail, and always the same."""
    plan = parse_faults("429=1:0.25")

    faults = [plan.fault(call) for call in CALLS]

    assert 0.2 < sum(fault is not None for fault in faults) / len(CALLS) < 0.3
    assert faults == [plan.fault(call) for call in CALLS]


def test_the_seed_chooses() -> None:
    """Another seed hits other APIs; the same seed hits the same, on any machine."""
    plans = [parse_faults("down=0.1", seed) for seed in (0, 1)]

    assert hit(plans[0]) != hit(plans[1])
    assert ["tool109"] == sorted(hit(plans[0]))[:1]


def test_kinds_are_drawn_independently() -> None:
    """Which APIs refuse calls does not depend on how many are down."""
    alone = {c.tool for c in CALLS if parse_faults("429=0.3").fault(c)}

    beside = {c.tool for c in CALLS if parse_faults("down=0.2,429=0.3").fault(c) is FaultKind.TOO_MANY}

    assert alone - hit(parse_faults("down=0.2")) == beside


@pytest.mark.parametrize(
    ("text", "quantiles"),
    [
        ("fixed:0.2", (0.2, 0.2)),
        ("uniform:0.1:0.5", (0.3, 0.5)),
        ("exponential:0.3", (0.208, 2.0)),
        ("lognormal:0.3:0.5", (0.3, 1.4)),
    ],
)
def test_delays_follow_the_distribution(text: str, quantiles: tuple[float, float]) -> None:
    """The median is that of the distribution, and the largest is near its end."""
    plan = parse_faults(f"latency={text}")

    delays = [plan.delay_s(call) for call in CALLS]

    assert abs(statistics.median(delays) - quantiles[0]) < 0.03
    assert abs(max(delays) - quantiles[1]) < 0.5


def test_no_delay_is_longer_than_a_minute() -> None:
    """A distribution with a heavy tail does not stop a server."""
    plan = parse_faults("latency=lognormal:1:300")

    assert MAX_DELAY_S == max(plan.delay_s(call) for call in CALLS)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        (" down = 0.5 , 429=.1 ", "down=0.5,429=0.1"),
        ("wrong-shape=1,DOWN=0.2", "down=0.2,wrong_shape=1"),
        ("5xx=0.5:0.25,latency=lognormal:0.3:0.5", "5xx=0.5:0.25,latency=lognormal:0.3:0.5"),
        ("latency=fixed:2", "latency=fixed:2"),
    ],
)
def test_a_plan_can_be_written_and_read(text: str, written: str) -> None:
    """Its written form has the faults in their order and reads as the same plan."""
    plan = parse_faults(text, 3)

    assert written == str(plan)
    assert plan == parse_faults(str(plan), 3)


@pytest.mark.parametrize(
    "text",
    [
        *("up=1", "down", "down=", "down=2", "down=-1", "down=nan", "down=0.1:0.2:0.3", "down=0.1:x", "=1"),
        *("latency=0.3", "latency=normal:1:1", "latency=fixed", "latency=fixed:-1", "latency=uniform:1"),
    ],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    """The error shows the form."""
    with pytest.raises(UsageError) as caught:
        parse_faults(text)

    assert "NAME=SHARE" in caught.value.hint


@given(st.text())
def test_any_text_is_a_plan_or_refused(text: str) -> None:
    """Nothing else happens."""
    with contextlib.suppress(UsageError):
        parse_faults(text)
