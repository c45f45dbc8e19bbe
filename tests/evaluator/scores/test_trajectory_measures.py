"""What trajectories tell without a judge, with intervals."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluator_makers import trajectory
from stb_core.usage import Usage
from stb_core.values.trajectories import FINISH, Step, StopReason, Trajectory
from stb_evaluator.scores.trajectory_measures import Measure, count_redundant, measure


def call(function: str = "f", arguments: str = "{}", **more: object) -> Step:
    return Step.model_validate({"function": function, "arguments": arguments, **more})


def made(query_id: int, *steps: Step, stop: StopReason = StopReason.ANSWERED) -> Trajectory:
    return trajectory(str(query_id), steps=[*steps, call(FINISH)], stop=stop)


def found(trajectories: list[Trajectory], name: str, group: str = "micro") -> Measure:
    return next(m for m in measure(trajectories) if (m.name, m.group) == (name, group))


def test_shares_of_answers_add_up() -> None:
    """Finished, gave up and neither are everything; spoiled ones are left out."""
    stops = StopReason.ANSWERED, StopReason.GAVE_UP, StopReason.NO_FINISH, StopReason.MAX_STEPS
    runs = [made(n, stop=stop) for n, stop in enumerate((*stops, StopReason.INFRASTRUCTURE))]

    shares = [found(runs, name).value for name in ("finished", "gave_up", "no_finish")]

    assert shares == [25.0, 25.0, 50.0]
    assert found(runs, "finished").n == 4


def test_shares_of_calls_are_ratios_of_sums() -> None:
    """One of four calls of functions that were not offered, two of four that failed."""
    runs = [
        made(1, call(hallucinated=True, error="no such function"), call("g"), call("h")),
        made(2, call(error="Quota")),
    ]

    assert found(runs, "hallucinated_calls").value == 25.0
    assert found(runs, "failed_calls").value == 50.0


def test_a_repeated_call_is_redundant_whatever_its_key_order() -> None:
    """The first of its kind is not; another type of value is another call."""
    steps = [
        call(arguments='{"a": 1, "b": 2}'),
        call(arguments='{"b":2,"a":1}'),
        call(arguments='{"a": "1", "b": 2}'),
        call(arguments="not json"),
        call(arguments="not json"),
        call("g", '{"a": 1, "b": 2}'),
    ]

    assert count_redundant(steps) == 2


def test_trials_of_a_query_are_averaged_first() -> None:
    """Three trials of one query do not outweigh one of another."""
    runs = [made(1, call(), call()) for _ in range(3)] + [made(2)]

    assert found(runs, "calls").value == 1.0
    assert found(runs, "calls").n == 2


def test_the_origin_of_tool_answers_is_told() -> None:
    """One measure for each origin that occurs, unknown for calls without one."""
    runs = [made(1, call(provenance="recorded"), call(provenance="simulated")), made(2, call(), call())]

    shares = {
        m.name: m.value for m in measure(runs) if m.name.startswith("provenance") and m.group == "micro"
    }

    assert shares == {"provenance_recorded": 25.0, "provenance_simulated": 25.0, "provenance_unknown": 50.0}


def test_what_nobody_wrote_down_is_not_zero() -> None:
    """Imported runs without tokens or times have no such measure."""
    assert not {"tokens", "seconds", "cost_usd"} & {m.name for m in measure([made(1)])}
    paid = made(1).model_copy(update={"usage": Usage(model_calls=1, prompt_tokens=10, cost_usd=0.5)})
    assert found([paid], "cost_usd").value == 0.5


@pytest.mark.parametrize("name", ["finished", "gave_up", "failed_calls", "calls"])
def test_the_interval_holds_the_value(name: str) -> None:
    """Also where nothing varies: sixty answers of sixty are no certainty."""
    runs = [made(n, *[call()] * (n % 3 + 1)) for n in range(60)]

    one = found(runs, name)

    assert one.value is not None
    assert one.low is not None
    assert one.high is not None
    assert one.low <= one.value <= one.high
    assert one.low < one.high


def test_real_systems_are_measured(run_stb, real_data: Path) -> None:
    """``stb score --metric trajectory``: finished, given up and unfinished make 100 percent."""
    run_stb("import", real_data / "pass_rate_results" / "toolllama_sft_cot", "--json")

    rows = run_stb("score", "--metric", "trajectory", "--json").document["rows"]

    micro = {row["metric"]: row["value"] for row in rows if row["group"] == "micro"}
    assert micro["finished"] + micro["gave_up"] + micro["no_finish"] == pytest.approx(100)
    assert micro["gave_up"] == pytest.approx(100 * 31 / 765)
