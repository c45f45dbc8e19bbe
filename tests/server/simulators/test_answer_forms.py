"""What a simulator's model is asked for is what is accepted of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sim_world
from stb_core.llm.structured_output import Schema, check_schema, fits, is_strict
from stb_core.values.tools import ToolDocument
from stb_server.simulators.answer_forms import Answered, asked_form, usable_answer
from stb_server.simulators.json_repair import Fault
from stb_server.simulators.schemas import schema_of_examples, schema_of_template

DEMO = Path(__file__).parents[3] / "cache_dumps" / "demo" / "tools"

# Halves of characters and NUL are text to a grammar, but no client and no store takes them.
TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "integer": st.integers(),
    "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
    "boolean": st.booleans(),
    "null": st.none(),
}
ANYTHING = st.recursive(
    st.one_of(*SCALARS.values()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def values(draw: st.DrawFn, schema: Schema) -> Any:
    """Any value that a grammar of the schema lets a model write; made from the schema alone."""
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if "anyOf" in schema:
        return draw(values(draw(st.sampled_from(schema["anyOf"]))))
    if "type" not in schema:
        return draw(ANYTHING)
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    kind = draw(st.sampled_from(kinds))
    if kind == "array":
        size = draw(st.integers(0, 2))
        return [draw(values(schema.get("items", {}))) for _ in range(size)]
    if kind != "object":
        return draw(SCALARS[kind])
    members = schema.get("properties", {})
    required = schema.get("required", ())
    made = {name: draw(values(m)) for name, m in members.items() if name in required or draw(st.booleans())}
    if schema.get("additionalProperties") is not False:
        more = draw(st.dictionaries(TEXT, ANYTHING, max_size=2))
        made |= {name: value for name, value in more.items() if name not in members}
    return made


def forms_of(folder: Path) -> list[Schema]:
    """The asked-for schemas of all APIs of a release, each once."""
    found: dict[bytes, Schema] = {}
    for file in sorted(folder.glob("*/*.json")):
        tool = ToolDocument.model_validate({"category": file.parent.name, **orjson.loads(file.read_bytes())})
        for api in tool.api_list:
            form = asked_form(schema_of_template(api.template_response))
            found.setdefault(orjson.dumps(form), form)
    return list(found.values())


def refused(form: Schema, value: Any) -> Fault | None:
    """Why a reply that consists of the value cannot be served."""
    outcome = usable_answer(json.dumps(value), form)
    return outcome if isinstance(outcome, Fault) else None


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_every_value_of_the_asked_for_schema_is_accepted(data: st.DataObject) -> None:
    """For the APIs of the demo, for one of unknown shape, and for shapes that were seen in recordings."""
    recorded = schema_of_examples([{"id": 1, "name": "x"}, {"id": None, "tags": []}, None, [1]])
    form = data.draw(st.sampled_from([*forms_of(DEMO), asked_form(None), asked_form(recorded)]))
    value = data.draw(values(form))

    assert refused(form, value) is None


def test_every_value_is_accepted_for_all_apis_of_the_real_release(real_data: Path) -> None:
    """Four values drawn for each of its shapes, by a fixed seed."""
    forms = forms_of(real_data / "release" / "tools")
    faults: list[Any] = []

    def collect(form: Schema) -> None:
        @settings(
            max_examples=4,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(values(form))
        def draw(value: Any) -> None:
            if (fault := refused(form, value)) is not None:
                faults.append((fault, value, form))

        draw()

    for form in forms:
        collect(form)

    assert len(forms) > 900
    assert [] == faults


def test_the_form_asks_in_a_way_that_every_server_takes() -> None:
    """It is JSON Schema, an object at the top, strict for OpenAI, and without keywords that some refuse."""
    form = asked_form(schema_of_template(sim_world.FILMS.api_list[0].template_response))

    jsonschema.Draft202012Validator.check_schema(form)
    check_schema(form)
    assert is_strict(form)
    assert form["type"] == "object"
    assert {"anyOf", "minLength", "minItems", "pattern", "const"}.isdisjoint(form)
    assert "minLength" not in json.dumps(form)


@given(ANYTHING)
def test_our_check_agrees_with_json_schema(value: Any) -> None:
    """On any value, wrapped as an answer or not."""
    for form in (asked_form(None), asked_form({"type": ["null", "number"]})):
        validator: Any = jsonschema.Draft202012Validator(form)
        for candidate in (value, {"answer": value}, {"answer": {"response": value}}):
            assert fits(candidate, form) == validator.is_valid(candidate)


@pytest.mark.parametrize("shape", [None, {}, {"type": "null"}, {"type": ["null", "object"]}])
def test_a_response_is_never_null(shape: Schema | None) -> None:
    """Not even where the API's template or its recordings know nothing else."""
    assert refused(asked_form(shape), {"answer": {"response": None}}) is Fault.UNFIT


def test_an_answer_is_read_with_its_error_and_its_response() -> None:
    """Each of the two has its own."""
    form = asked_form({"type": "integer"})

    served = usable_answer('{"answer": {"response": 0}}', form)
    refusal = usable_answer('{"answer": {"refusal": "conflict", "error": "It is there."}}', form)

    assert isinstance(served, Answered)
    assert isinstance(refusal, Answered)
    assert [("", 0), ("It is there.", "")] == [(a.error, a.response) for a in (served, refusal)]
