"""Limits of a trial, counted before they are passed."""

from __future__ import annotations

import pytest

from stb_agents.environment.budget import Budget, BudgetSpent, Meter
from stb_core.usage import Usage
from stb_core.values.trajectories import StopReason


def test_limits_that_are_named_replace_those_of_the_agent() -> None:
    """Others stay, and only limits that are set are settings."""
    budget = Budget(max_steps=3, max_tokens=10).with_limits(Budget(max_steps=5))

    assert budget.settings() == {"max_steps": 5, "max_tokens": 10}


def test_the_limit_that_was_reached_first_is_remembered() -> None:
    """Also where the agent continues and reaches another."""
    meter = Meter(Budget(max_tool_calls=1, max_steps=1))
    meter.begin_tool_call()
    meter.begin_step()

    with pytest.raises(BudgetSpent) as first:
        meter.begin_tool_call()
    with pytest.raises(BudgetSpent) as second:
        meter.begin_step()

    assert (first.value.reason, second.value.reason) == (StopReason.MAX_TOOL_CALLS, StopReason.MAX_STEPS)
    assert meter.spent is StopReason.MAX_TOOL_CALLS


def test_the_time_is_up_when_the_clock_says_so() -> None:
    """After that no step, call or answer is accepted."""
    now = [0.0]
    meter = Meter(Budget(max_seconds=2.0), clock=lambda: now[0])
    meter.begin_step()
    now[0] = 2.5

    assert (meter.seconds, meter.remaining_s) == (2.5, 0.0)
    for check in (meter.begin_step, meter.begin_model_call, meter.begin_tool_call, meter.check_open):
        with pytest.raises(BudgetSpent, match="max_seconds"):
            check()


def test_what_is_left_is_at_least_one_of_each() -> None:
    """For an episode at the server, whose limits cannot be zero."""
    meter = Meter(Budget(max_tool_calls=1, max_model_calls=5, max_tokens=10))
    meter.begin_tool_call()
    meter.add_usage(Usage(model_calls=2, prompt_tokens=8, completion_tokens=8))

    assert meter.remaining == {"max_tool_calls": 1, "max_model_calls": 3, "max_tokens": 1}
