"""Which names may stand for a dataset or an API: in standard form, and harmless as names of files."""

from __future__ import annotations

import re

from stb_core.errors import UsageError
from stb_core.values.names import MAX_NAME_LENGTH, standardize_api, standardize_category, standardize_tool

_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def checked_dataset_name(name: str) -> str:
    """A dataset's name, if it can be one: commands write ``DATASET:GROUP`` and lists with commas.

    Raises:
        UsageError: it cannot.
    """
    if not _DATASET.fullmatch(name):
        raise UsageError(
            f"A dataset cannot be called {name!r}.",
            hint="Choose a name of up to 200 letters, digits, '.', '_' and '-'.",
        )
    return name


def name_problem(category: str, tool: str, api: str) -> str:
    """Why these cannot be the standard names of an API; empty when they can.

    Standard tool and API names hold letters, digits, ``_`` and ``^`` alone, but a category keeps
    whatever else its folder was called.
    """
    for what, name in (("category", category), ("tool", tool), ("API", api)):
        if not name:
            return f"the {what} name has no letter or digit that a standard name may have"
        if len(name) > MAX_NAME_LENGTH:
            return f"the {what} name is longer than {MAX_NAME_LENGTH} characters"
    if category in {".", ".."} or "\\" in category or not category.isprintable():
        return "the category name cannot be the name of a folder"
    if (category, tool, api) != (
        standardize_category(category),
        standardize_tool(tool),
        standardize_api(api),
    ):
        return "the names are not in standard form"
    return ""
