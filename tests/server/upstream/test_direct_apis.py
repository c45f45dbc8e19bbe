"""A call becomes the HTTP request that the tool's description asks for, and nothing beyond it."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.calls import ToolCall
from stb_core.values.tools import ApiDocument
from stb_server.upstream.configuration import DirectApi, DirectTool
from stb_server.upstream.direct_apis import direct_request
from stb_server.upstream.values import UpstreamError, UpstreamRequest


def requested(arguments: dict[str, Any], document: ApiDocument | None = None, **api: Any) -> UpstreamRequest:
    described = DirectApi.model_validate(api)
    tool = DirectTool(
        category="Movies",
        tool="films",
        url="https://films.example/v1/",
        headers={"X-Host": "films"},
        secret_headers={"X-Key": "FILMS_KEY"},
        apis={"find": described},
    )
    call = ToolCall("Movies", "films", "find", arguments)
    return direct_request(call, tool, described, {"FILMS_KEY": "s3cret-s3cret"}, document)


def test_arguments_go_to_their_places() -> None:
    """Path, query and body, under their documented names; null is left out."""
    request = requested(
        {"is_id": "tt 1/2", "sortby": "year", "title": "Ä", "flag": True, "n": None, "extra": 5},
        method="POST",
        path="/title/{id}/find",
        query=["sortBy", "flag"],
        body=["title"],
    )

    assert ("POST", "https://films.example/v1/title/tt%201%2F2/find?sortBy=year&flag=true") == (
        request.method,
        request.url,
    )
    assert {"title": "Ä", "extra": 5} == orjson.loads(request.content or b"")
    assert (
        ("X-Host", "films"),
        ("Content-Type", "application/json"),
        ("X-Key", "s3cret-s3cret"),
    ) == request.headers


def test_the_document_of_the_api_knows_names_too() -> None:
    """Of parameters that the description does not mention."""
    document = ApiDocument(
        name="find",
        required_parameters=({"name": "releaseYear", "type": "NUMBER"},),  # type: ignore[arg-type]
        optional_parameters=({"name": "from", "type": "STRING"},),  # type: ignore[arg-type]
    )

    request = requested({"releaseyear": 1999, "is_from": "a", "other": 1.5}, document, path="/find")

    assert "https://films.example/v1/find?releaseYear=1999&from=a&other=1.5" == request.url
    assert request.content is None


def test_lists_are_repeated_and_objects_are_json() -> None:
    """In a query."""
    request = requested({"ids": [1, "b"], "filter": {"a": [1]}}, path="/find")

    assert {"ids": ["1", "b"], "filter": ['{"a":[1]}']} == parse_qs(urlsplit(request.url).query)


def test_a_form_body_is_encoded_as_a_form() -> None:
    """With its content type."""
    request = requested({"a": "x y", "b": 2}, method="POST", path="/find", body_format="form")

    assert b"a=x%20y&b=2" == request.content
    assert ("Content-Type", "application/x-www-form-urlencoded") in request.headers


def test_a_post_without_arguments_has_an_empty_body() -> None:
    """Servers want to know its length."""
    assert b"" == requested({}, method="POST", path="/find").content


@pytest.mark.parametrize("value", ["..", ".", "", None, ["a"], {"a": 1}])
def test_an_argument_cannot_change_the_path(value: Any) -> None:
    """What cannot stand in a path segment is refused."""
    with pytest.raises(UpstreamError) as caught:
        requested({"id": value}, path="/title/{id}/find")

    assert "unsuited" == caught.value.kind


@pytest.mark.parametrize("path", ["/{a}{b}", "/x/.{a}"])
def test_nor_can_arguments_that_stand_together(path: str) -> None:
    """Two dots from two arguments are still two dots."""
    with pytest.raises(UpstreamError):
        requested({"a": ".", "b": "."}, path=path)


def test_a_missing_path_argument_is_refused() -> None:
    """The call cannot be made."""
    with pytest.raises(UpstreamError, match="lacks an argument"):
        requested({}, path="/title/{id}")


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text not in {".", ".."})
)
def test_any_text_stays_within_its_place(text: str) -> None:
    """It never reaches another host, another path or another parameter."""
    request = requested({"id": text, "q": text}, path="/title/{id}/find", query=["q"])

    parts = urlsplit(request.url)
    assert ("https", "films.example", 5) == (parts.scheme, parts.netloc, len(parts.path.split("/")))
    assert {"q": [text]} == parse_qs(parts.query, keep_blank_values=True)
    assert "" == parts.fragment


def test_secrets_are_not_shown() -> None:
    """A request can be printed."""
    assert "s3cret" not in repr(requested({}, path="/find"))
