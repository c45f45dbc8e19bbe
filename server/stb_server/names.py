"""Which names may stand for an API: in standard form, and harmless as names of files."""

from __future__ import annotations

from stb_core.naming import MAX_NAME_LENGTH, standardize_api, standardize_category, standardize_tool


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
