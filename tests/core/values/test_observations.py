"""What an agent is shown: our own form, and that of the published client."""

from __future__ import annotations

import json

import pytest

from stb_core.values.functions import Functions
from stb_core.values.observations import ObservationStyle, finish_step, read_call
from stb_core.values.trajectories import Step

REFERENCE = ObservationStyle(form="reference")
NO_FUNCTIONS = Functions([])


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"error":"","response":{"a":1,"b":[1.50,true,null]}}', '{"error": "", "response": {"a": 1, "b": [1.5, true, null]}}'),
        ('{"error":"","response":"Köln 🌦"}', '{"error": "", "response": "K\\u00f6ln \\ud83c\\udf26"}'),
        ('{"response":"","error":"last"}', '{"response": "", "error": "last"}'),
        ('{"error":"","response":12345678901234567890123}', '{"error": "", "response": 12345678901234567890123}'),
        ("not JSON", "not JSON"),
    ],
)  # fmt: skip
def test_an_answer_is_written_as_the_published_client_writes_it(body: str, shown: str) -> None:
    """With spaces, in ASCII; the usual form is the server's own text."""
    assert REFERENCE.show(body) == (shown, False)
    assert ObservationStyle().show(body) == (body, False)


@pytest.mark.parametrize("length", [988, 989, 990, 2000])
def test_the_cut_falls_where_the_published_client_cuts(length: int) -> None:
    """After so many characters of its own form, with three dots."""
    body = json.dumps({"error": "", "response": "x" * length}, separators=(",", ":"))
    whole = json.dumps({"error": "", "response": "x" * length})

    shown, is_cut = REFERENCE.show(body)

    assert shown == (whole[:1024] + "..." if len(whole) > 1024 else whole)
    assert is_cut is (len(whole) > 1024)


def test_calls_that_mean_nothing_have_the_words_of_the_published_client() -> None:
    """An unknown function, and a Finish without what it needs."""
    unknown = read_call(NO_FUNCTIONS, "nothing", "{}", REFERENCE)
    finishes = [
        finish_step(arguments, REFERENCE)[0].observation
        for arguments in ("{", "{}", '{"return_type": "no"}', '{"return_type": "give_answer"}')
    ]

    assert isinstance(unknown, Step)
    assert unknown.observation == '{"error": "No such function name: nothing", "response": ""}'
    assert unknown.hallucinated
    assert finishes == [
        '{error:"must have "return_type""}',
        '{error:"must have "return_type""}',
        '{error:""return_type" is not a valid choice"}',
        '{error:"must have "final_answer""}',
    ]


def test_only_the_form_that_is_not_usual_is_a_setting() -> None:
    """So that runs without it stay the runs that they were."""
    assert ObservationStyle(7).settings() == {"max_observation": 7}
    assert ObservationStyle.of_settings({"max_observation": 7}) == ObservationStyle(7)
    settings = ObservationStyle(7, "reference").settings()
    assert settings == {"max_observation": 7, "observation": "reference"}
    assert ObservationStyle.of_settings(settings) == ObservationStyle(7, "reference")
