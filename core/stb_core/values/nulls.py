"""Nulls that mean "not given": a client's null for a documented optional parameter is no argument.

Clients of MCP and models in strict mode write null for every optional parameter that they do not use.
"""

from __future__ import annotations

from collections.abc import Mapping

from stb_core import json_text
from stb_core.values.calls import JsonObject, canonical_json
from stb_core.values.tools import ApiDocument

NULL_MEMBER = b":null"
"""Stands in canonical arguments that hold a null; most hold none, and are not looked at further."""


def without_nulls(arguments: JsonObject, document: ApiDocument) -> JsonObject:
    """The arguments without nulls for optional parameters.

    A null for a required parameter, or for one that the document does not have, stays.
    """
    names = document.optional_names
    if not any(value is None and name in names for name, value in arguments.items()):
        return arguments
    return {name: value for name, value in arguments.items() if value is not None or name not in names}


def canonical_without_nulls(canonical_arguments: bytes, document: ApiDocument) -> bytes:
    """As ``without_nulls``, for canonical JSON.

    Raises:
        FormatError: they are not JSON.
    """
    if NULL_MEMBER not in canonical_arguments:
        return canonical_arguments
    arguments = json_text.parse_strictly(canonical_arguments)
    if not isinstance(arguments, Mapping):
        return canonical_arguments
    given = without_nulls(dict(arguments), document)
    return canonical_arguments if len(given) == len(arguments) else canonical_json(given)
