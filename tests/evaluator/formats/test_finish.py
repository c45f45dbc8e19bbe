"""How an agent ended is read from the structure of its last call, never from words in a text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.trajectories import Step, StopReason
from stb_evaluator.formats.finish import FinishCall, read_finish, stop_of


def finish(**arguments: object) -> Step:
    return Step(function="Finish", arguments=json.dumps(arguments))


def test_an_answer_with_the_words_of_giving_up_is_an_answer() -> None:
    """The reference fails an answer that mentions give_up_and_restart; its words decide nothing."""
    step = finish(return_type="give_answer", final_answer='Say "return_type": "give_up_and_restart".')

    assert stop_of((step,)) == (StopReason.ANSWERED, 'Say "return_type": "give_up_and_restart".')


def test_a_tool_response_that_quotes_a_finish_call_is_no_finish() -> None:
    """The reference passes any last step whose text holds 'name': 'Finish'."""
    quoted = "{'name': 'Finish', 'arguments': '{\"return_type\": \"give_answer\"}'}"
    step = Step(function="search_for_x", arguments="{}", observation=quoted)

    assert stop_of((step,)) == (StopReason.NO_FINISH, "")


def test_giving_up_is_not_answering() -> None:
    """A final answer beside give_up_and_restart does not count."""
    assert stop_of((finish(return_type="give_up_and_restart", final_answer="42"),)) == (
        StopReason.GAVE_UP,
        "",
    )


def test_only_the_last_call_counts() -> None:
    """An agent that goes on after Finish has not finished."""
    steps = finish(return_type="give_answer", final_answer="42"), Step(function="f", arguments="{}")

    assert stop_of(steps) == (StopReason.NO_FINISH, "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            '{"return_type": "give_answer", "final_answer": "It is 4',
            FinishCall("give_answer", "It is 4", False),
        ),
        (
            '{\n "return_type": "give_answer",\n "final_answer": "Call {"a": "b"} now.\\nDone"\n}',
            FinishCall("give_answer", 'Call {"a": "b"} now.\nDone', False),
        ),
        (
            '{"final_answer": "say "hi"", "return_type": "give_answer"}',
            FinishCall("give_answer", 'say "hi"', False),
        ),
        (
            '{\nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "x"}',
            FinishCall("give_answer", "x", True),
        ),
        ('{"return_type": "give_answer"', FinishCall("give_answer", "", False)),
        ('{"return_type": "give_answer", "final_answer": {"a": 1}}', FinishCall("give_answer", '{"a": 1}')),
        ("[1]", FinishCall("", "", False)),
        ("", FinishCall("", "", False)),
        ('The "return_type": "give_answer" comes last', FinishCall("", "", False)),
    ],
)
def test_cut_and_malformed_arguments_are_read_as_far_as_they_go(arguments: str, expected: FinishCall) -> None:
    """What ToolBench's client accepts is accepted, from the beginning of the text only."""
    assert read_finish(arguments) == expected


@given(st.text())
def test_a_whole_answer_is_read_exactly(answer: str) -> None:
    """Whatever an answer says, it comes out as it went in."""
    call = read_finish(json.dumps({"return_type": "give_answer", "final_answer": answer}))

    assert call == FinishCall("give_answer", answer)


@given(st.text(alphabet='{}":\\ \nuadef"return_typefinal_answergive', max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Anything at all gives a result."""
    read_finish(text)


def test_a_long_run_of_spaces_is_read_in_no_time() -> None:
    """No pattern goes back and forth over white space."""
    assert read_finish(" " * 100_000 + "{" + " " * 100_000).return_type == ""
