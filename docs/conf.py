"""How the documentation becomes a site: ``sphinx-build -W docs site``, offline.

The pages are plain Markdown that reads as well where the source is shown. ``contents.rst`` and the two ``.txt``,
which take in pages from outside this folder, exist for the site alone.
"""

from __future__ import annotations

import posixpath
import re

from sphinx.application import Sphinx

project = "StableToolBench"
author = copyright = "the StableToolBench authors"  # noqa: A001 - Sphinx wants this name
html_title = "StableToolBench"

extensions = ["myst_parser"]
root_doc = "contents"
source_suffix = {".rst": "restructuredtext", ".md": "markdown", ".txt": "markdown"}
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    # The theme's own fonts are the system's, and its scripts are files beside the pages: nothing is fetched.
    "navigation_with_keys": True,
    "top_of_page_buttons": [],
}

_ELSEWHERE = {"../CHANGELOG.md": "changelog.txt", "../SECURITY.md": "security-policy.txt"}
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)(#[^)\s]*)?\)")


def _redirect(_: Sphinx, page: str, source: list[str]) -> None:
    """Let links to pages outside this folder lead to their places in the site, or say where they are."""

    def moved(found: re.Match[str]) -> str:
        text, link, _ = found.groups()
        if link in _ELSEWHERE:
            return f"[{text}]({_ELSEWHERE[link]})"
        outside = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
        return f"{text} (`{outside[3:]}`)" if outside.startswith("../") else found[0]

    source[0] = _LINK.sub(moved, source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _redirect)
