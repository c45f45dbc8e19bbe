"""Schemas from templates and from recorded answers."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile import LITERALS
from stb_core.llm.structured_output import fits, is_strict
from stb_server.calls.documented_answers import parse_template
from stb_server.simulators.schemas import (
    decode_response,
    schema_of_examples,
    schema_of_template,
)
from stb_server.simulators.template import simulate

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def test_a_template_becomes_a_closed_schema():
    """Type words, lists with their lengths and nested members come out as JSON Schema."""
    template = {
        "title": "str",
        "year": "int",
        "rating": "float",
        "seen": "bool",
        "note": "NoneType",
        "tags": ["list of str with length 8"],
        "none": "empty list",
        "cast": [{"name": "str", "_list_length": 20}],
    }

    schema = schema_of_template(template)

    assert {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "year": {"type": "integer"},
            "rating": {"type": "number"},
            "seen": {"type": "boolean"},
            "note": {"type": ["boolean", "null", "number", "string"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "none": {"type": "array"},
            "cast": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["title", "year", "rating", "seen", "note", "tags", "none", "cast"],
        "additionalProperties": False,
    } == schema


def test_a_template_that_tells_all_types_is_strict():
    """OpenAI can keep to it token by token; a list of unknown entries leaves that open."""
    known = {"title": "str", "cast": [{"name": "str", "_list_length": 20}], "note": "NoneType"}

    assert is_strict(schema_of_template(known))
    assert not is_strict(schema_of_template({**known, "more": "empty list"}))


def test_a_template_without_shape_has_no_schema():
    """Nothing, emptiness and text that is no template give no schema."""
    found = [schema_of_template(template) for template in (None, {}, "", "Not a template at all")]

    assert [None] * 4 == found


def test_every_template_of_the_real_release_has_a_schema_that_its_stand_in_fits(real_data):
    """What the template simulator makes fits the schema of the same template, for all real APIs."""
    templates = [
        parse_template(api["template_response"])
        for file in sorted((real_data / "release" / "tools").glob("*/*.json"))
        for api in json.loads(file.read_text())["api_list"]
        if api.get("template_response")
    ]

    unfit = [
        template
        for template in templates
        if (schema := schema_of_template(template)) is not None
        and not fits(simulate(template, {}, "key"), schema)
    ]

    assert len(templates) > 1500
    assert [] == unfit


@given(st.lists(JSON_VALUES, min_size=1, max_size=4))
def test_examples_fit_their_common_schema(values):
    """Whatever was recorded fits the schema that was derived from it."""
    schema = schema_of_examples(values)

    assert schema is not None
    assert all(fits(value, schema) for value in values)


def test_members_that_not_all_examples_have_are_optional():
    """A member is required when every example has it."""
    schema = schema_of_examples([{"id": 1, "name": "x"}, {"id": 2.5}])

    assert {
        "type": "object",
        "properties": {"id": {"type": "number"}, "name": {"type": "string"}},
        "required": ["id"],
    } == schema


def test_no_examples_have_no_schema():
    """Without anything recorded the answer is free."""
    assert schema_of_examples([]) is None


def test_responses_are_decoded_from_json_and_python_notation():
    """Text of both notations gives data; other text stays text."""
    found = [decode_response(r) for r in ('{"a": null}', "{'a': None, 'b': (1, 2)}", "[1]", "plain", 5)]

    assert [{"a": None}, {"a": None, "b": [1, 2]}, [1], "plain", 5] == found


@pytest.mark.parametrize("text", LITERALS, ids=range(len(LITERALS)))
def test_any_recorded_text_can_be_decoded(text: str) -> None:
    """To a value that JSON carries, or it is itself."""
    assert text == (found := decode_response(text)) or orjson.dumps(found)
