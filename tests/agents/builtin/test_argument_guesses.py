"""Arguments are found in a task's words, in what was seen, and in the documented examples."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_agents.builtin.argument_guesses import facts, guesses, mentions, shape
from stb_core.values.functions import ApiFunction, Functions, OfferedApi
from stb_core.values.tools import ApiDocument, ApiRef


def function(name: str = "Get Thing", /, optional: tuple[str, ...] = (), **parameters: Any) -> ApiFunction:
    """A function with these parameters and their examples; those named in ``optional`` are."""
    rows = [
        {
            "name": key.rstrip("_"),
            "type": "NUMBER" if isinstance(example, int | float) else "STRING",
            "default": example,
        }
        for key, example in parameters.items()
    ]
    document = ApiDocument.model_validate(
        {
            "name": name,
            "required_parameters": [row for row in rows if row["name"] not in optional],
            "optional_parameters": [row for row in rows if row["name"] in optional],
        }
    )
    return Functions([OfferedApi(ApiRef("C", "t", document.standard_name), document)]).all[0]


@pytest.mark.parametrize(
    ("asked", "text", "first"),
    [
        (function(city="Paris"), "What is the weather in Velmora now?", {"city": "Velmora"}),
        (function(hotel_id="H-101"), "Show the hotel 'H-204' to me.", {"hotel_id": "H-204"}),
        (
            function("Convert", from_="EUR", to="USD", amount=100),
            "Convert 250 from CHF to GBP.",
            {"is_from": "CHF", "to": "GBP", "amount": 250},
        ),
        (
            function("Search Hotels", city="Paris", checkin="2026-01-01", nights=1),
            "I arrive in Osterby on 2026-06-19 for 2 nights. Search hotels.",
            {"city": "Osterby", "checkin": "2026-06-19", "nights": 2},
        ),
        (function(query=""), "Find videos about 'documentary' films.", {"query": "documentary"}),
        (function(season="2025"), "Show me the table.", {"season": "2025"}),
        (function(days=3, optional=("days",)), "The forecast for the next 5 days, please.", {"days": 5}),
        (function(days=3, optional=("days",)), "Its weather, please.", {}),
        (function(weight_kg=2.5), "Send 1.2 kg to me.", {"weight_kg": 1.2}),
    ],
)
def test_a_task_says_what_is_meant(asked: ApiFunction, text: str, first: dict[str, Any]) -> None:
    """By the shape of the example, the words beside a value, its quotes, its unit."""
    assert guesses(asked, text)[0] == first


def test_what_was_seen_fills_what_the_task_leaves_open() -> None:
    """An id from an earlier answer, by its name or by its looks; the task's own word goes first."""
    by_name, by_looks = function(depot_id="D-0"), function(id="RC-01")
    seen = facts('{"depots": [{"depot_id": "D-OB-1", "recipe": "RC-07"}]}')

    assert guesses(by_name, "Its hours?", seen)[0] == {"depot_id": "D-OB-1"}
    assert guesses(by_looks, "Its steps?", seen)[0] == {"is_id": "RC-07"}
    assert guesses(by_name, "The hours of the depot 'D-9'?", seen)[0] == {"depot_id": "D-9"}


def test_the_documented_example_is_tried_too() -> None:
    """After the task's own value, in case that leads nowhere."""
    assert {"city": "Paris"} in guesses(function(city="Paris"), "The weather in Velmora?")


@given(st.text(max_size=200), st.text(max_size=20), st.text(max_size=20))
def test_guesses_are_few_and_different(text: str, example: str, name: str) -> None:
    """At most three, at least one, none twice, whatever the text."""
    made = guesses(function(**{name or "x": example}), text)

    assert 1 <= len(made) <= 3
    assert all(made.count(guess) == 1 for guess in made)


def test_mentions_are_values_in_order() -> None:
    """Quoted words, codes, dates, numbers and names; the first word of a sentence is none."""
    text = "Track 'PX-1' from New York on 2026-06-19, 2.5 kg. Don't mail me@x.org."

    assert [mention.value for mention in mentions(text)] == [
        "PX-1",
        "New York",
        "2026-06-19",
        "2.5",
        "me@x.org",
    ]


def test_facts_are_read_from_whole_torn_and_escaped_answers() -> None:
    """JSON, JSON within text, Python's notation, and what a cut left of them."""
    assert facts('{"error": "", "response": {"a": "x", "n": 2.5, "ok": true, "b": "cu') == [
        ("a", "x"),
        ("n", "2.5"),
        ("ok", "true"),
    ]
    assert facts('{"error":"","response":"{\\"code\\": \\"EUR\\"}"}') == [("code", "EUR")]
    assert facts("{'id': 893292, 'name': 'TV'}") == [("id", "893292"), ("name", "TV")]


def test_a_shape_keeps_signs_and_kinds() -> None:
    """Letters by case, digits, the rest as it is."""
    assert [shape(v) for v in ("H-101", "2026-06-19", "Paris", 12)] == ["A-9", "9-9-9", "Aa", "9"]
