"""Names come into ToolBench's standard form, and stay there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.names import (
    standardize_api,
    standardize_category,
    standardize_parameter,
    standardize_tool,
    strip_suffix,
)


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("TheClique", "theclique"),
        ("123 Chat!", "get_123_chat"),
        ("Keyword  Analysis", "keyword_analysis"),
        ("_a__b_", "a_b"),
        ("a^b", "a^b"),
        ("天气 API", "天气_api"),
        ("Größe", "gr_e"),
        ("", ""),
        ("...", ""),
    ],
)
def test_a_tool_name_is_brought_into_its_standard_form(name: str, standard: str) -> None:
    """The examples show each rule."""
    assert standard == standardize_tool(name)


@pytest.mark.parametrize("word", ["from", "class", "return", "false", "true", "id", "and"])
def test_a_reserved_word_gets_a_prefix(word: str) -> None:
    """A Python function or argument could not have such a name."""
    assert f"is_{word}" == standardize_api(word.upper()) == standardize_parameter(word)
    assert word == standardize_tool(word)


def test_a_category_keeps_its_case() -> None:
    """Separators become single underscores."""
    assert "Video_Images" == standardize_category("Video, Images") == standardize_category("Video_Images")


@given(st.text())
def test_a_standard_form_is_stable(name: str) -> None:
    """Standardising twice is standardising once."""
    for standardize in (standardize_category, standardize_tool, standardize_api):
        assert standardize(name) == standardize(standardize(name))


@given(st.text())
def test_a_standard_name_cannot_leave_a_folder(name: str) -> None:
    """No separator, dot or NUL is left in a tool's or API's name, and no slash in a category's."""
    assert not set(standardize_api(name)) & set("/\\.\0: ")
    assert "/" not in standardize_category(name)


def test_a_suffix_is_stripped_only_when_something_stands_before_it() -> None:
    """``_for_<owner>`` goes once, from the end."""
    assert "search" == strip_suffix("search_for_x", "x")
    assert "search_for_x" == strip_suffix("search_for_x_for_x", "x")
    assert "_for_x" == strip_suffix("_for_x", "x")
    assert "search" == strip_suffix("search", "x")


def test_every_name_of_the_release_agrees_with_its_file(real_data: Path) -> None:
    """Tool files are named by the standard form, their folder by that of the category; and no two
    APIs of a tool share one.
    """
    files = sorted((real_data / "release" / "tools").glob("*/*.json"))

    for file in files:
        document = json.loads(file.read_text(encoding="utf-8"))
        apis = [standardize_api(api["name"]) for api in document["api_list"]]
        assert file.stem == standardize_tool(document["tool_name"]) == document["standardized_name"]
        assert file.parent.name == standardize_category(file.parent.name)
        assert len(apis) == len(set(apis))
        assert all(apis)
    assert 1042 == len(files)
