"""Reading of model output: what is mended, what is refused, and that nothing is guessed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import LITERALS
from stb_server.simulators.json_repair import MAX_CHARACTERS, Fault, Repair, read_object

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), inner, max_size=4
        )
    ),
    max_leaves=10,
)
OBJECTS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), JSON_VALUES, max_size=4
)


@pytest.mark.parametrize(
    ("text", "body", "repairs"),
    [
        ('{"a": 1}', {"a": 1}, ()),
        ('```json\n{"a": 1}\n```', {"a": 1}, (Repair.FENCE,)),
        ('Here you are:\n```\n{"a": 1}\n```\nDone.', {"a": 1}, (Repair.FENCE, Repair.PROSE)),
        ('Sure! {"a": {"b": 2}} That is all.', {"a": {"b": 2}}, (Repair.PROSE,)),
        ('<think>{"a": 2}? No.</think>\n{"a": 1}', {"a": 1}, (Repair.THOUGHTS,)),
        ('{"a": 2}? No.</think>Here: {"a": 1}', {"a": 1}, (Repair.THOUGHTS, Repair.PROSE)),
        ('{"a": "</think>"}', {"a": "</think>"}, ()),
        ('{"a": "line\nline\ttab"}', {"a": "line\nline\ttab"}, (Repair.CONTROL,)),
        (r'{"a": "20\xa0km"}', {"a": r"20\xa0km"}, (Repair.ESCAPES,)),
        ("{'a': None, 'b': [True, 'x']}", {"a": None, "b": [True, "x"]}, (Repair.PYTHON,)),
        (
            '{"error": "", "response": "{"id": 7, "name": "x"}"}',
            {"error": "", "response": '{"id": 7, "name": "x"}'},
            (Repair.QUOTES,),
        ),
        (
            '{"mechanism_of_the_api": "It says "hi".", "error": "", "response": "hi\nthere"}',
            {"mechanism_of_the_api": 'It says "hi".', "error": "", "response": "hi\nthere"},
            (Repair.QUOTES,),
        ),
    ],
)
def test_slips_really_seen_are_mended(text, body, repairs):
    """Each kind of slip gives the object that was meant, and is named."""
    reading = read_object(text)

    assert (body, repairs, None) == (reading.body, reading.repairs, reading.fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (" \n", Fault.EMPTY),
        ("I cannot do that.", Fault.NO_JSON),
        ('<think>Perhaps {"a": 1}', Fault.NO_JSON),
        ('<think>Perhaps {"a": 1}</think> No.', Fault.NO_JSON),
        ('{"error": "", "response": {"id": 1', Fault.TRUNCATED),
        ('Sure: {"error": "", "response": {"id": 1}, "x": ', Fault.TRUNCATED),
        ('{"error": "", "response": "cut he', Fault.TRUNCATED),
        ('{"a" 1}', Fault.MALFORMED),
        ("[1, 2]", Fault.NOT_AN_OBJECT),
        ('[{"a": 1}]', Fault.NOT_AN_OBJECT),
        ('{"a": 1} or {"a": 2}', Fault.SEVERAL_OBJECTS),
        ('{"a": 1, "a": 2}', Fault.REPEATED_KEY),
        ('{"error": "", "error": "x", "response": "y"}', Fault.REPEATED_KEY),
        ('{"a": NaN}', Fault.NOT_A_NUMBER),
        ('{"a": 1e999}', Fault.NOT_A_NUMBER),
        ('words {"a": -Infinity}', Fault.NOT_A_NUMBER),
        (r'{"a": "x\u0000y"}', Fault.NUL),
        ('{"a": "x\0y"}', Fault.NUL),
        (r'{"a": "\ud800"}', Fault.SURROGATE),
        (r'{"\udfff": 1}', Fault.SURROGATE),
        ('{"a":' * 100 + "1" + "}" * 100, Fault.TOO_DEEP),
        ('{"a":' * 100_000, Fault.TOO_DEEP),
        ('{"a": "' + "x" * 10_000_000 + '"}', Fault.TOO_LARGE),
    ],
)
def test_what_cannot_be_trusted_is_refused(text, fault):
    """Each kind of unusable output has its own name and gives no object."""
    reading = read_object(text)

    assert (None, fault) == (reading.body, reading.fault)


@given(OBJECTS)
def test_json_is_read_as_it_is(value):
    """Whatever is JSON needs no repair and comes back unchanged."""
    reading = read_object(json.dumps(value))

    assert (value, ()) == (reading.body, reading.repairs)


@given(st.text(max_size=60) | st.text("{}[]\"'`:,\\ntrue1 ", max_size=40))
def test_no_text_makes_the_reader_fail(text):
    """Any text gives an object or a fault, never an exception and never both."""
    reading = read_object(text)

    assert (reading.body is None) is (reading.fault is not None)


@given(OBJECTS.filter(bool), st.integers(min_value=1, max_value=200))
def test_a_cut_object_is_never_completed(value, cut):
    """A proper beginning of an object's text is refused wherever it was cut."""
    text = json.dumps(value)
    beginning = text[: max(1, len(text) - cut)]

    assert read_object(beginning).body is None


def test_reading_stays_fast_on_hostile_text():
    """The longest text that is read at all is read in a moment, whatever it repeats."""
    hostile = '{"mechanism_of_the_api":"' + '","error":"' * (MAX_CHARACTERS // 12)

    assert read_object(hostile).body is None


@pytest.mark.parametrize("text", LITERALS, ids=range(len(LITERALS)))
def test_a_reply_in_a_broken_notation_is_a_fault_or_an_object(text: str) -> None:
    """However it is wrapped, reading it raises nothing."""
    for reply in (text, f"```python\n{text}\n```", f"{{'error': '', 'response': {text}}}"):
        reading = read_object(reply)

        assert (reading.body is None) is (reading.fault is not None)
