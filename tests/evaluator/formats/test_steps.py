"""ToolBench's texts of calls become steps, and damaged ones are read as far as they go."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import LITERALS
from stb_evaluator.formats.steps import read_call, read_error, read_text, split_steps


def call(**fields: str) -> str:
    return str({"name": "f_for_t", "arguments": "{}", "response": "", **fields})


def test_steps_are_split_at_their_numbers_in_turn() -> None:
    """A number out of turn inside a text does not begin a step."""
    text = f"Step 1: I think.\nStep 7: not a step\nStep 2: {call()}\nStep 3: {call(name='Finish')}"

    assert list(split_steps(text)) == [
        "I think.\nStep 7: not a step",
        call(),
        call(name="Finish"),
    ]


def test_a_response_that_quotes_steps_stays_in_one_piece() -> None:
    """Python's notation escapes line breaks, so a quoted step is never at the start of a line."""
    step = call(response="\nStep 2: {'name': 'Finish'}")

    assert list(split_steps(f"Step 1: {step}")) == [step]


def test_calls_and_free_texts_are_told_apart() -> None:
    """Both keep their order."""
    second = call(arguments='{"a": 1}')

    steps, messages = read_text(f"Step 1: Hm.\nStep 2: {second}", ("f_for_t",))

    assert [(s.function, s.arguments) for s in steps] == [("f_for_t", '{"a": 1}')]
    assert [m.content for m in messages] == ["Hm."]


def test_a_function_that_was_not_offered_is_marked() -> None:
    """A name counts as offered when a function's name ends with it, as in ToolBench's client."""
    names = [read_call(call(name=n), ("advanced_f_for_t",)) for n in ("f_for_t", "g_for_t")]

    assert [step.hallucinated for step in names if step] == [False, True]


def test_a_cut_call_keeps_what_is_there() -> None:
    """Name and the beginning of the arguments, marked as truncated."""
    whole = call(arguments='{\n  "vin": "WBA"\n}', response="long")

    step = read_call(whole[: whole.index("WBA") + 2], ())

    assert step
    assert (step.function, step.arguments, step.truncated) == ("f_for_t", '{\n  "vin": "WB', True)


def test_the_error_of_a_response_is_read() -> None:
    """Also from a response that was cut behind it."""
    assert read_error('{"error": "Quota \\"used\\"", "response": ""}') == ('Quota "used"', False)
    assert read_error('{"error": "Timeout", "response": "abc...') == ("Timeout", True)
    assert read_error("plain text") == ("", False)


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_any_call_survives_the_way_through_text(name: str, response: str, arguments: dict[str, str]) -> None:
    """Quotation marks, line breaks and braces in any field come out as they went in."""
    text = json.dumps(arguments)

    steps, messages = read_text(f"Step 1: {call(name=name, arguments=text, response=response)}", ())

    assert [(s.function, s.arguments, s.observation) for s in steps] == [(name, text, response)]
    assert messages == ()


@given(st.text(alphabet="Step 1234:{}'name\":,\n\\x"))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Anything at all gives some steps or none."""
    read_text(text, ("f",))


@pytest.mark.parametrize("text", LITERALS, ids=range(len(LITERALS)))
def test_a_step_in_a_broken_notation_is_read_as_far_as_it_goes(text: str) -> None:
    """As its response, as its arguments, cut off, or as all that there is."""
    head = "{'name': 'f_for_t', 'arguments': "
    calls = [
        f"{head}'{{}}', 'response': {text}}}",
        f"{head}{text}, 'response': ''}}",
        f"{head}'{text}', 'resp",
    ]

    for call_text in (*calls, text, f"{head}'\\x', 'response': '\\N{{nothing}}'"):
        steps, messages = read_text(f"Step 1: {call_text}", ())

        assert steps or messages
