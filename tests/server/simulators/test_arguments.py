"""What is wrong with a call's arguments, and the words in which that is refused."""

from __future__ import annotations

import json

import pytest

from sim_world import FILMS
from stb_core.values.names import standardize_api
from stb_core.values.python_notation import parse_arguments_literal
from stb_core.values.tools import ApiDocument
from stb_server.simulators.arguments import ArgumentProblems, find_problems, refusal

SEARCH = FILMS.api_list[0]


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ({"title": "Alien"}, ArgumentProblems()),
        ({"title": "Alien", "year": "1979", "page": 2}, ArgumentProblems()),
        ({"title": "Alien", "year": "", "page": None}, ArgumentProblems()),
        ({"title": "Alien", "toolbench_key": "secret"}, ArgumentProblems()),
        ({"Title": "Alien"}, ArgumentProblems()),
        ({}, ArgumentProblems(missing=("title",))),
        ({"title": "x", "director": "y"}, ArgumentProblems(unknown=("director",))),
        ({"title": "x", "year": "soon"}, ArgumentProblems(wrong_type=("year",))),
        ({"title": "x", "year": [1979]}, ArgumentProblems(wrong_type=("year",))),
    ],
)
def test_arguments_are_compared_with_the_document(arguments, problems):
    """Unknown, missing and wrongly typed arguments are told apart; empty optional ones are fine."""
    assert problems == find_problems(SEARCH, arguments)


@pytest.mark.parametrize(
    ("problems", "text"),
    [
        (ArgumentProblems(), ""),
        (ArgumentProblems(wrong_type=("year",)), ""),
        (ArgumentProblems(missing=("a",)), "f() missing 1 required positional argument: 'a'"),
        (ArgumentProblems(missing=("a", "b")), "f() missing 2 required positional arguments: 'a' and 'b'"),
        (
            ArgumentProblems(missing=("a", "b", "c")),
            "f() missing 3 required positional arguments: 'a', 'b', and 'c'",
        ),
        (ArgumentProblems(unknown=("x", "y"), missing=("a",)), "f() got an unexpected keyword argument 'x'"),
    ],
)
def test_refusals_are_in_the_words_of_python(problems, text):
    """The words are those that a Python function would be refused with."""
    assert text == refusal("f", problems)


def test_refusals_equal_the_recorded_ones(real_data):
    """Of the recorded refusals of unknown and missing arguments nine in ten are predicted exactly."""
    release = real_data / "release"
    documents = {
        (file.parent.name, file.stem, standardize_api(api["name"])): ApiDocument.model_validate(api)
        for file in (release / "tools").glob("*/*.json")
        for api in json.loads(file.read_text())["api_list"]
    }
    recorded, foretold = [], []
    for file in sorted((release / "tool_response_cache").glob("*/*/*.json")):
        category = file.parent.parent.name
        document = documents.get((category, file.parent.name.removesuffix(f"_for_{category}"), file.stem))
        if document is None:
            continue
        for key, answer in json.loads(file.read_text()).items():
            last = answer["error"].rstrip().split("\n")[-1]
            if "unexpected keyword argument" in last or "required positional argument" in last:
                recorded.append(last)
                foretold.append(refusal(file.stem, find_problems(document, parse_arguments_literal(key))))

    equal = sum(a == b for a, b in zip(recorded, foretold, strict=True))

    assert len(recorded) > 250
    assert equal / len(recorded) > 0.9
