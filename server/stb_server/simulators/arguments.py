"""What is wrong with the arguments of a call, and how the API refuses them.

ToolBench's APIs are Python functions, so an unknown argument and a missing one are refused by
Python itself, in its words and before the API sees the call. This is how 222 of 271 recorded calls with an unknown
argument were answered, and 54 of 70 with a missing one; no model is needed to do the same. An argument of the wrong type reaches the API, which answers as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stb_core.values import ApiDocument
from stb_core.values.names import standardize_parameter
from stb_core.values.tools import Parameter

CREDENTIAL = "toolbench_key"
"""An argument that older clients send among the others; it is not part of any API."""


@dataclass(frozen=True)
class ArgumentProblems:
    """Names of arguments that the document does not allow, in the order of the call or of the document."""

    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    wrong_type: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.unknown or self.missing or self.wrong_type)

    def as_details(self) -> dict[str, list[str]]:
        """For the record; kinds without names are left out."""
        kinds = {"unknown": self.unknown, "missing": self.missing, "wrong_type": self.wrong_type}
        return {kind: list(names) for kind, names in kinds.items() if names}


NO_PROBLEMS = ArgumentProblems()


def find_problems(document: ApiDocument, arguments: Mapping[str, Any]) -> ArgumentProblems:
    """Compare arguments with the documented parameters; names count in their standard form."""
    required = {parameter.standard_name: parameter for parameter in document.required_parameters}
    known = {parameter.standard_name: parameter for parameter in document.optional_parameters} | required
    standard_names = {name: standardize_parameter(name) for name in arguments if name != CREDENTIAL}
    return ArgumentProblems(
        unknown=tuple(name for name, standard in standard_names.items() if standard not in known),
        missing=tuple(name for name in required if name not in standard_names.values()),
        wrong_type=tuple(
            name
            for name, standard in standard_names.items()
            if standard in known and not _has_type(arguments[name], known[standard])
        ),
    )


_TRUTHS = frozenset({"true", "false", "0", "1", "yes", "no"})


def _has_type(value: Any, parameter: Parameter) -> bool:
    """Whether a value may stand for a parameter's type; numbers and truths may be written as text."""
    if value is None or value == "":  # agents leave optional parameters empty
        return True
    match parameter.type.upper():
        case "NUMBER":
            return not isinstance(value, bool | list | dict) and _is_number(value)
        case "BOOLEAN":
            return isinstance(value, bool) or str(value).lower() in _TRUTHS
        case "ARRAY":
            return isinstance(value, list | str)
        case "OBJECT":
            return isinstance(value, dict | str)
        case _:
            return True


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def refusal(api: str, problems: ArgumentProblems) -> str:
    """Python's error for a call with unknown or missing arguments; "" if there is none."""
    if problems.unknown:
        return f"{api}() got an unexpected keyword argument '{problems.unknown[0]}'"
    if not problems.missing:
        return ""
    names = [f"'{name}'" for name in problems.missing]
    match names:
        case [name]:
            return f"{api}() missing 1 required positional argument: {name}"
        case [first, second]:
            listed = f"{first} and {second}"
        case [*first, last]:
            listed = f"{', '.join(first)}, and {last}"
    return f"{api}() missing {len(names)} required positional arguments: {listed}"
