"""Checks names of datasets and APIs: they must be in standard form and safe as file names."""

from __future__ import annotations

import re

from stb_core.errors import UsageError
from stb_core.values import standardize_api, standardize_category, standardize_tool
from stb_core.values.names import MAX_NAME_LENGTH

_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def checked_dataset_name(name: str) -> str:
    """Return a valid name of a dataset; commands write ``DATASET:GROUP`` and lists with commas.

    Raises:
        UsageError: the name is not valid.
    """
    if not _DATASET.fullmatch(name):
        raise UsageError(
            f"A dataset cannot be called {name!r}.",
            hint="Choose a name of up to 200 letters, digits, '.', '_' and '-'.",
        )
    return name


def name_problem(category: str, tool: str, api: str) -> str:
    """Why these are not the standard names of an API; empty if they are.

    Standard tool and API names have only letters, digits, ``_`` and ``^``, but a category keeps the other
    characters of its folder's name.
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
