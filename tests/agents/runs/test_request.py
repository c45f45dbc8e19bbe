"""What ``stb run`` is asked to do, read from its options."""

from __future__ import annotations

import pytest

from stb_agents.builtin.dfsdt import Dfsdt
from stb_agents.runs.request import RunRequest, number_to_retrieve
from stb_core.errors import UsageError


@pytest.mark.parametrize("wrong", ["all", "retrieved", "retrieved:0", "retrieved:-1", "retrieved:1.5", ""])
def test_what_says_nothing_of_tools_is_refused(wrong: str) -> None:
    """With the form that it should have."""
    with pytest.raises(UsageError, match=r"Write given, or retrieved:K .* such as retrieved:10"):
        number_to_retrieve(wrong)


def test_the_number_of_apis_to_retrieve_is_read() -> None:
    """None is retrieved where a query offers the APIs that it names."""
    assert (number_to_retrieve("given"), number_to_retrieve("retrieved:10")) == (None, 10)


def test_options_of_the_agent_are_names_and_values() -> None:
    """A value may hold a further sign of equality, and a name may be written with hyphens."""
    request = RunRequest("dfsdt", "demo", agent_option=("max-depth=3", "note=a=b"))

    assert request.options == {"max_depth": "3", "note": "a=b"}


@pytest.mark.parametrize("wrong", ["width", "=3", ""])
def test_an_option_without_a_name_or_value_is_refused(wrong: str) -> None:
    """With the form that it should have."""
    with pytest.raises(UsageError, match=r"is not an agent option\. Write -o NAME=VALUE"):
        _ = RunRequest("dfsdt", "demo", agent_option=(wrong,)).options


def test_the_limits_of_an_agent_hold_where_the_request_names_no_other() -> None:
    """DFSDT itself stops after 200 model calls."""
    plain = RunRequest("dfsdt", "demo").trial_settings(Dfsdt()).budget
    limited = RunRequest("dfsdt", "demo", max_model_calls=7, max_steps=3).trial_settings(Dfsdt()).budget

    assert (plain.max_model_calls, plain.max_steps) == (200, None)
    assert (limited.max_model_calls, limited.max_steps) == (7, 3)


def test_ids_may_be_separated_by_commas_or_spaces() -> None:
    """None is named by default."""
    assert RunRequest("cot", "demo", task_ids="1, 2 3,").ids == ["1", "2", "3"]
    assert RunRequest("cot", "demo").ids == []
