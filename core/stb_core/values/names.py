"""How ToolBench spells names: the standard form of a category, tool, API and parameter name.

Recorded responses, queries and the functions that agents call all use these forms, so every
name is brought into its standard form before it is compared or stored (ToolBench,
arXiv:2307.16789; the forms are those of its public data release).
"""

from __future__ import annotations

import re

_CATEGORY_SEPARATORS = re.compile(r"[ ,/]")
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_^\u4e00-\u9fa5]")
_UNDERSCORES = re.compile(r"_{2,}")

# Names that a Python function or argument could not have; ToolBench puts ``is_`` before them.
RESERVED_NAMES = frozenset({"from", "class", "return", "false", "true", "id", "and"})

MAX_NAME_LENGTH = 256


def standardize_category(category: str) -> str:
    """The folder form of a category: ``"Video, Images"`` → ``"Video_Images"``. Case is kept."""
    return _UNDERSCORES.sub("_", _CATEGORY_SEPARATORS.sub("_", category))


def standardize_tool(tool: str) -> str:
    """The standard form of a tool name: ``"123 Chat!"`` → ``"get_123_chat"``.

    Other characters than ASCII letters, digits, ``_``, ``^`` and U+4E00 to U+9FA5 become ``_``,
    runs of ``_`` become one, outer ones are dropped, and a leading digit gets ``get_``.
    """
    name = _UNDERSCORES.sub("_", _NOT_ALLOWED.sub("_", tool)).strip("_").lower()
    return f"get_{name}" if name[:1].isdigit() else name


def standardize_api(api: str) -> str:
    """The standard form of an API name: as for a tool, and reserved words get ``is_``."""
    name = standardize_tool(api)
    return f"is_{name}" if name in RESERVED_NAMES else name


def standardize_parameter(parameter: str) -> str:
    """The standard form of a parameter name, which is that of an API name: ``"id"`` → ``"is_id"``."""
    return standardize_api(parameter)


def strip_suffix(name: str, owner: str) -> str:
    """``name`` without a trailing ``_for_<owner>``, if it has one and something stands before it."""
    suffix = f"_for_{owner}"
    return name[: -len(suffix)] if owner and name.endswith(suffix) and len(name) > len(suffix) else name
