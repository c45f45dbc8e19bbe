"""The template simulator: right in shape, the same for the same call, and never passed off as real."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.store.datasets import Dataset
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_core.values.tools import ApiDocument, ApiRef
from stb_server.calls.answers import Answer, CallRequest, Decline
from stb_server.calls.documented_answers import MAX_DEPTH, parse_template
from stb_server.simulators.template import TemplateSimulator, simulate

DATASET = Dataset(1, "d", "", "", "", 0, "", "")
TYPES = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "NoneType": type(None),
    "list": list,
    "dict": dict,
}


def matches(template: Any, value: Any) -> bool:
    """Whether a value has the shape of a template; lists may be shorter, but not empty."""
    if isinstance(template, dict):
        members = {name: inner for name, inner in template.items() if name != "_list_length"}
        return (
            isinstance(value, dict)
            and members.keys() == value.keys()
            and all(matches(inner, value[name]) for name, inner in members.items())
        )
    if isinstance(template, list):
        if len(template) != 1:
            return (
                isinstance(value, list) and len(value) == len(template) and all(map(matches, template, value))
            )
        entry, most = template[0], 1
        if isinstance(entry, dict):
            most = entry.get("_list_length", 1)
        elif isinstance(entry, str) and (found := re.fullmatch(r"list of (\w+) with length (\d+)", entry)):
            entry, most = found[1], int(found[2])
        return (
            isinstance(value, list)
            and min(1, most) <= len(value) <= most
            and all(matches(entry, item) for item in value)
        )
    if template == "empty list":
        return value == []
    if template in TYPES:
        return type(value) is TYPES[template]
    return bool(value == template)


def real_templates(folder: Path) -> Iterator[tuple[str, Any]]:
    for file in sorted(folder.glob("release/tools/*/*.json")):
        for api in json.loads(file.read_text(encoding="utf-8"))["api_list"]:
            if "template_response" in api:
                yield f"{file.parent.name}/{file.stem}/{api['name']}", api["template_response"]


def test_every_real_template_is_filled_in_its_shape(real_data: Path) -> None:
    """All 1,665 templates of the release, cut ones included, give valid JSON of their shape."""
    seen = 0
    for name, raw in real_templates(real_data):
        template = parse_template(raw)
        value = simulate(template, {"page": 2, "name": "x", "id": "7"}, name)
        body = orjson.dumps(value)

        assert isinstance(template, dict), name
        assert matches(template, orjson.loads(body)), name
        assert len(body) < 20_000, name
        seen += 1
    assert seen == 1_665


def test_a_cut_template_gives_all_that_is_whole(real_data: Path) -> None:
    """The 149 templates that the release cut at 1,000 characters lose at most their last member."""
    cut = [raw for _, raw in real_templates(real_data) if isinstance(raw, str)]

    kept = [len(json.dumps(parse_template(raw))) for raw in cut]

    assert len(cut) == 149
    assert min(kept) > 880


leaves = st.sampled_from(
    ["str", "int", "float", "bool", "NoneType", "empty list", "literal", "list", "dict", 5, True]
)
lists_of = st.builds(
    "list of {} with length {}".format, st.sampled_from(["str", "int", "list"]), st.integers(0, 9)
)
templates = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(st.text(max_size=6), inner, max_size=4)
        | st.lists(inner, max_size=2)
        | st.lists(lists_of, min_size=1, max_size=1)
        | st.builds(
            lambda members, n: [{**members, "_list_length": n}],
            st.dictionaries(st.text(max_size=6), inner, max_size=3),
            st.integers(0, 9),
        )
    ),
    max_leaves=15,
)
arguments = st.dictionaries(
    st.sampled_from(["id", "page", "name", "q"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text()),
)


@given(templates, arguments, st.text())
def test_any_template_is_filled_in_its_shape(
    template: Any, given_arguments: dict[str, Any], key: str
) -> None:
    """Whatever the arguments, the value has the template's shape and can be written as JSON."""
    value = simulate(template, given_arguments, key)

    assert matches(template, value)
    json.dumps(value, allow_nan=False)


@given(templates, arguments, st.text())
def test_the_same_call_has_the_same_answer(template: Any, given_arguments: dict[str, Any], key: str) -> None:
    """Template, arguments and key decide everything."""
    first = json.dumps(simulate(template, given_arguments, key))

    assert first == json.dumps(simulate(template, dict(reversed(given_arguments.items())), key))


def test_the_bytes_of_an_answer_are_fixed() -> None:
    """The same on every machine and in every version that calls itself template/1."""
    template = {
        "id": "int",
        "title": "str",
        "ok": "bool",
        "tags": ["list of str with length 2"],
        "price": "float",
    }

    value = simulate(template, {}, "0" * 64)

    fixed = '{"id":708,"title":"Juniper 9763","ok":true,"tags":["tags juniper 9584","tags birch 2164"],"price":18.19}'
    assert fixed == orjson.dumps(value).decode()


def test_another_call_has_another_answer() -> None:
    """The key of the call is the seed."""
    template = {"text": "str", "n": "int"}

    assert simulate(template, {}, "a") != simulate(template, {}, "b")


@pytest.mark.parametrize(
    ("leaf", "name", "argument", "echoed"),
    [
        ("str", "city", "Riga", True),
        ("str", "City", "Riga", True),
        ("str", "city", 5, True),
        ("int", "page", 3, True),
        ("int", "page", "3", True),
        ("int", "page", "three", False),
        ("int", "page", 3.5, False),
        ("int", "page", 10**400, False),
        ("float", "lat", "3.5", True),
        ("float", "lat", float("nan"), False),
        ("bool", "adult", "true", True),
        ("bool", "adult", "maybe", False),
        ("str", "city", "x" * 1_000, False),
        ("str", "city", ["Riga"], False),
        ("NoneType", "city", "Riga", False),
    ],
)
def test_an_argument_comes_back_where_it_fits(leaf: str, name: str, argument: object, echoed: bool) -> None:
    """A member named like an argument carries its value, if that is of the member's type."""
    value = simulate({name: leaf}, {name.lower(): argument}, "k")[name]

    assert echoed == (str(value).lower() == str(argument).lower())
    assert matches(leaf, value)


def test_reserved_argument_names_come_back_too() -> None:
    """ToolBench calls the parameter ``id`` ``is_id``; the answer's member is ``id``."""
    assert {"id": "tt1"} == simulate({"id": "str"}, {"is_id": "tt1"}, "k")


@pytest.mark.parametrize("text", ["", "no template", '{"a" "b"}', "]", '{"a": [}', "5, 6"])
def test_text_without_a_shape_is_no_template(text: str) -> None:
    """None, so that the simulator declines."""
    assert parse_template(text) is None


@given(st.text(alphabet='{}[]",:\\ astr'))
def test_no_text_makes_the_parser_fail(text: str) -> None:
    """A template is a foreign text: it may hold anything."""
    parse_template(text)


def test_a_nested_template_stays_small() -> None:
    """Lists within lists are shortened, and what is too deep is null."""
    template: Any = "str"
    for _ in range(MAX_DEPTH * 2):
        template = [{"a": template, "_list_length": 100}]

    assert len(orjson.dumps(simulate(template, {}, "k"))) < 5_000


async def answered(document: ApiDocument | None) -> Answer | Decline:
    async def documents(dataset_id: int, ref: ApiRef) -> ApiDocument | None:
        assert (1, ApiRef("Data", "tool", "api")) == (dataset_id, ref)
        return document

    call = ToolCall("Data", "tool", "api", {"city": "Riga"})
    return await TemplateSimulator(documents).answer(CallRequest(DATASET, call))


async def test_an_answer_says_that_a_template_made_it() -> None:
    """Its provenance is ``template``, and its body is ToolBench's envelope."""
    document = ApiDocument(name="api", template_response={"city": "str"})

    outcome = await answered(document)

    assert (
        Answer(
            b'{"error":"","response":{"city":"Riga"}}',
            Provenance.TEMPLATE,
            details={"simulator": "template/1"},
        )
        == outcome
    )


@pytest.mark.parametrize(
    "document", [None, ApiDocument(name="api"), ApiDocument(name="api", template_response="?")]
)
async def test_without_a_template_it_declines(document: ApiDocument | None) -> None:
    """It does not invent a shape."""
    outcome = await answered(document)

    assert isinstance(outcome, Decline)
    assert outcome.kind == "no_template"
