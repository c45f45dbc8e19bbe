"""The documentation becomes a site, strictly and without a network, and the site fetches nothing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY, unavailable

_FETCHED = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["']((?:https?:)?//[^"']+)""")
_FETCHED_BY_STYLES = re.compile(r"""(?:url\(|@import\s)\s*["']?((?:https?:)?//[^"')]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors: broken links, pages in no contents, unknown languages."""
    if importlib.util.find_spec("sphinx") is None:
        unavailable("Sphinx")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-d",
            folder / "cache",
            "docs",
            folder / "html",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return folder / "html"


def test_every_page_is_there(site: Path) -> None:
    """Each Markdown page of the documentation has become a page of the site."""
    docs = REPOSITORY / "docs"

    absent = [
        page
        for page in docs.rglob("*.md")
        if not (site / page.relative_to(docs)).with_suffix(".html").is_file()
    ]

    assert [] == absent
    assert (site / "changelog.html").is_file()


def test_nothing_is_fetched(site: Path) -> None:
    """No script, style, font or picture comes from elsewhere."""
    fetched = [
        f"{page.name}: {link}" for page in site.rglob("*.html") for link in _FETCHED.findall(page.read_text())
    ]
    fetched += [
        f"{style.name}: {link}"
        for style in site.rglob("*.css")
        for link in _FETCHED_BY_STYLES.findall(style.read_text())
    ]

    assert [] == fetched
