"""Every page is safe, light, and says what is wrong in words."""

from __future__ import annotations

import httpx
import pytest

from hostile import KEY, PAGES, PROBE, PROBED_KEY, RUN


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_hostile_text_as_text(hostile_site: str, path: str) -> None:
    """Whatever a name or body holds, no markup of it stands in the page, and nothing is evaluated."""
    answer = httpx.get(hostile_site + path)

    assert 200 == answer.status_code
    assert "<script>window" not in answer.text
    assert "<img src=x" not in answer.text


@pytest.mark.parametrize("path", [*PAGES, "/cache/none", "/static/inspector.css"])
def test_a_page_allows_nothing_but_its_own_files(hostile_site: str, path: str) -> None:
    """A policy without inline script or style, no sniffing, no referrer to others; below 500 kB."""
    answer = httpx.get(hostile_site + path)

    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "same-origin" == answer.headers["referrer-policy"]
    assert len(answer.content) < 500_000
    assert " style=" not in answer.text
    assert " onclick=" not in answer.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/cache/none", "There is no dataset &#39;none&#39;."),
        (f"/cache/weather/{'0' * 64}", "has no response"),
        (f"/cache/weather/{KEY}?version=9", "has no version 9"),
        (f"/cache/weather/{KEY}/diff?a=1&b=7", "no such versions"),
        ("/runs/none", "There is no run &#39;none&#39;."),
        (f"/runs/{RUN}/G1_tool/77", "has no trajectory"),
        ("/runs/a/b/c/d/e", "There is no page"),
    ],
)
def test_what_is_not_there_is_said(hostile_site: str, path: str, words: str) -> None:
    """404, as a page with the reason."""
    answer = httpx.get(hostile_site + path)

    assert 404 == answer.status_code
    assert words in answer.text
    assert "text/html" in answer.headers["content-type"]


def test_raw_is_what_clients_get(hostile_site: str) -> None:
    """The stored bytes, as JSON that no browser takes for a page."""
    raw = httpx.get(f"{hostile_site}/cache/weather/{PROBED_KEY}/raw")

    assert PROBE == raw.json()["error"]
    assert "application/json" == raw.headers["content-type"]
    assert "recorded" == raw.headers["x-stb-provenance"]


def test_pages_do_not_hide_other_endpoints(hostile_site: str) -> None:
    """An unknown path is JSON as before, and GET /virtual is refused as before."""
    unknown = httpx.get(f"{hostile_site}/v1/nothing")
    virtual = httpx.get(f"{hostile_site}/virtual")

    assert (404, 405) == (unknown.status_code, virtual.status_code)
    assert "paths" in httpx.get(f"{hostile_site}/openapi.json").json()
    assert "/cache" not in httpx.get(f"{hostile_site}/openapi.json").json()["paths"]
