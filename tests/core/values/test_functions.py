"""API documents become functions without collisions, and a function's name says which API it means."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.functions import Functions, OfferedApi, name_functions
from stb_core.values.names import standardize_api, standardize_category, standardize_tool
from stb_core.values.tools import ApiDocument, ApiRef
from stb_core.values.trajectories import FINISH

LEGAL = re.compile(r"[a-zA-Z0-9_-]{1,64}")

# Few letters and long repeats, so that tails collide; signs that are not legal in a function's name.
NAMES = st.one_of(
    st.text("ab_^中", min_size=1, max_size=6),
    st.builds(lambda n, end: "a" * n + end, st.integers(55, 80), st.text("ab", max_size=2)),
)
REFS = st.builds(ApiRef, st.sampled_from(["Data", "Music"]), NAMES, NAMES)


def api(**document: Any) -> OfferedApi:
    made = ApiDocument.model_validate({"name": "Get Thing", **document})
    return OfferedApi(ApiRef("Data", "box", made.standard_name), made)


def parameter(name: str, kind: str = "STRING", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


@given(st.lists(REFS, max_size=12))
def test_names_are_legal_and_mean_one_api(refs: list[ApiRef]) -> None:
    """At most 64 characters of [a-zA-Z0-9_-], all different, none of them Finish."""
    names = name_functions(refs)

    assert all(LEGAL.fullmatch(name) for name in names.values())
    assert len(set(names.values()) | {FINISH}) == len(set(refs)) + 1


@given(st.lists(REFS, max_size=8), st.randoms(use_true_random=False))
def test_names_do_not_depend_on_the_order(refs: list[ApiRef], rng: Any) -> None:
    """The same APIs in any order have the same names."""
    shuffled = list(refs)
    rng.shuffle(shuffled)

    assert name_functions(refs) == name_functions(shuffled)


@given(st.lists(REFS, max_size=8))
def test_a_name_leads_back_to_its_api(refs: list[ApiRef]) -> None:
    """Looking up each API's function by its name gives that API."""
    functions = Functions([OfferedApi(ref, ApiDocument(name=ref.api)) for ref in refs])

    assert [functions.find(name).ref for name in functions.names] == list(dict.fromkeys(refs))  # type: ignore[union-attr]


def test_the_usual_name_is_that_of_toolbench() -> None:
    """<api>_for_<tool>, and its last 64 characters where it is longer."""
    short, long = ApiRef("Data", "box", "get_thing"), ApiRef("Data", "x" * 40, "y" * 40)

    names = name_functions([short, long])

    assert names == {short: "get_thing_for_box", long: ("y" * 40 + "_for_" + "x" * 40)[-64:]}


def test_where_the_last_64_characters_are_shared_a_hash_decides() -> None:
    """Both of the two get one, and a third that does not collide keeps its name."""
    refs = [ApiRef("Data", "x" * 62, api) for api in ("one", "two")]

    names = name_functions([*refs, ApiRef("Data", "box", "a")])

    assert names[refs[0]][:55] == ("one_for_" + "x" * 62)[:55]
    assert len(set(names.values())) == 3
    assert "a_for_box" in names.values()


def test_parameters_have_their_standard_names_and_types() -> None:
    """RapidAPI's types become JSON Schema's; the default is an example in the description."""
    offered = api(
        description="Gets it.",
        required_parameters=[
            parameter("id", "NUMBER", default="7", description="Which one."),
            parameter("Day", "DATE (YYYY-MM-DD)"),
        ],
        optional_parameters=[
            parameter("tags[]", "ARRAY"),
            parameter("full", "BOOLEAN", default=True),
            parameter("kind", "ENUM"),
        ],
    )

    (function,) = Functions([offered]).all

    assert function.schema.model_dump() == {
        "name": "get_thing_for_box",
        "description": "Gets it.",
        "parameters": {
            "type": "object",
            "properties": {
                "is_id": {"type": "number", "description": "Which one. Example: 7"},
                "day": {"type": "string", "description": "Format: YYYY-MM-DD."},
                "tags": {"type": "array", "description": "", "items": {}},
                "full": {"type": "boolean", "description": "Example: true"},
                "kind": {"type": "string", "description": ""},
            },
            "required": ["is_id", "day"],
        },
    }


@pytest.mark.parametrize(
    ("kind", "default", "example"),
    [
        ("NUMBER", "10", 10),
        ("NUMBER", "2.5", 2.5),
        ("NUMBER", 3, 3),
        ("NUMBER", "007", "007"),
        ("NUMBER", "ten", "ten"),
        ("BOOLEAN", "False", False),
        ("STRING", "10", "10"),
        ("STRING", "", None),
        ("STRING", None, None),
    ],
)
def test_an_example_has_the_parameters_type_where_it_can(kind: str, default: Any, example: Any) -> None:
    """Documents write many numbers as text; what is no number stays as it is."""
    (function,) = Functions([api(required_parameters=[parameter("x", kind, default=default)])]).all

    assert function.parameters[0].example == example


def test_parameters_that_are_one_in_standard_form_make_one() -> None:
    """A call can carry only one of them; it is required since one of them is."""
    offered = api(
        required_parameters=[parameter("User ID", description="first")],
        optional_parameters=[parameter("user_id", description="second"), parameter("user-id")],
    )

    (function,) = Functions([offered]).all

    assert [
        (parameter.name, parameter.required, parameter.document.description)
        for parameter in function.parameters
    ] == [("user_id", True, "first")]


def test_a_parameter_whose_name_is_not_legal_is_renamed_and_sent_under_its_own() -> None:
    """Some endpoints refuse such property names; the server knows no others."""
    (function,) = Functions([api(required_parameters=[parameter("城市"), parameter("???")])]).all
    shown = [parameter.name for parameter in function.parameters]

    sent = function.call_arguments({shown[0]: "Paris", shown[1]: 1, "unknown": 2})

    assert all(LEGAL.fullmatch(name) for name in shown)
    assert sent == {"城市": "Paris", "": 1, "unknown": 2}


def test_descriptions_are_cut_where_endpoints_would_refuse_them() -> None:
    """1,024 characters for a function, 512 for a parameter."""
    offered = api(description="d" * 5000, required_parameters=[parameter("x", description="p" * 5000)])

    schema = Functions([offered]).all[0].schema

    assert (len(schema.description), len(schema.parameters["properties"]["x"]["description"])) == (1024, 512)


def test_finish_is_offered_last() -> None:
    """With the two ways to end."""
    schemas = Functions([api()]).schemas

    assert [schema.name for schema in schemas] == ["get_thing_for_box", "Finish"]
    assert schemas[-1].parameters["properties"]["return_type"]["enum"] == [
        "give_answer",
        "give_up_and_restart",
    ]


def official_queries(release: Path) -> Generator[list[OfferedApi]]:
    for path in sorted((release / "solvable_queries" / "test_instruction").glob("*.json")):
        for query in json.loads(path.read_text()):
            yield [
                OfferedApi(
                    ApiRef(
                        standardize_category(row["category_name"]),
                        standardize_tool(row["tool_name"]),
                        standardize_api(row["api_name"]),
                    ),
                    ApiDocument.model_validate(
                        {**row, "name": row["api_name"], "description": row["api_description"]}
                    ),
                )
                for row in query["api_list"]
            ]


def test_all_real_queries_have_functions_that_mean_one_api_each(real_data: Path) -> None:
    """765 queries; only the four whose last 64 characters collide differ from the official names."""
    renamed = queries = 0
    for apis in official_queries(real_data / "release"):
        functions = Functions(apis)
        refs = {offered.ref for offered in apis}
        assert {functions.find(name).ref for name in functions.names} == refs  # type: ignore[union-attr]
        assert all(LEGAL.fullmatch(parameter.name) for f in functions.all for parameter in f.parameters)
        official = {f"{ref.api}_for_{ref.tool}"[-64:] for ref in refs}
        queries, renamed = queries + 1, renamed + (set(functions.names) != official)

    assert (queries, renamed) == (765, 4)


def test_real_schemas_are_json_schemas(real_data: Path) -> None:
    """As far as a look at their keywords tells, for the first hundred queries."""
    for apis in islice(official_queries(real_data / "release"), 100):
        for schema in Functions(apis).schemas:
            properties = schema.parameters["properties"]
            assert set(schema.parameters["required"]) <= set(properties)
            kinds = {"string", "number", "integer", "boolean", "array", "object"}
            assert {value["type"] for value in properties.values()} <= kinds
