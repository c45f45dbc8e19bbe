"""API documents → the functions that an agent is offered, and a function's name → the API it means.

A function is named ``<api>_for_<tool>`` after the standard names (ToolBench, arXiv:2307.16789).
ToolBench's own clients keep the last 64 characters. So do we if the result is a legal name that no other
API of the query has; otherwise the name ends with a short hash. No two functions of a query have the same
name, and the name of an API does not depend on the order of the others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from stb_core.values.calls import JsonObject
from stb_core.values.tools import ApiDocument, ApiRef, Parameter, ToolDocument
from stb_core.values.trajectories import FINISH

_LONGEST_NAME = 64
_LONGEST_DESCRIPTION = 1024
_LONGEST_PARAMETER_DESCRIPTION = 512
_LEGAL = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_LEGAL = re.compile(r"[^a-zA-Z0-9_-]")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?")

# RapidAPI's types and the JSON Schema types they become. Types that are missing here (STRING, ENUM, DATE,
# TIME, BINARY) become strings.
_TYPES = {
    "NUMBER": "number",
    "INTEGER": "integer",
    "INT": "integer",
    "FLOAT": "number",
    "BOOLEAN": "boolean",
    "ARRAY": "array",
    "LIST": "array",
    "OBJECT": "object",
}

GIVE_ANSWER = "give_answer"
GIVE_UP = "give_up_and_restart"


class FunctionSchema(BaseModel):
    """One function that a model may call; ``parameters`` is a JSON Schema of type object."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}


finish_schema = FunctionSchema(
    name=FINISH,
    description="Ends the task: hands in the final answer, or gives up where the functions cannot lead to one.",
    parameters={
        "type": "object",
        "properties": {
            "return_type": {
                "type": "string",
                "enum": [GIVE_ANSWER, GIVE_UP],
                "description": f"{GIVE_ANSWER} with a final_answer, or {GIVE_UP}.",
            },
            "final_answer": {
                "type": "string",
                "description": f"The whole answer for the user, in words; needed with {GIVE_ANSWER}.",
            },
        },
        "required": ["return_type"],
    },
)


class OfferedApi(NamedTuple):
    """An API that a query offers, with its documents."""

    ref: ApiRef
    document: ApiDocument
    tool_description: str = ""


def find_offered_apis(tools: Iterable[ToolDocument], refs: Collection[ApiRef]) -> dict[ApiRef, OfferedApi]:
    """These APIs with their documents; APIs without a document are left out."""
    offered: dict[ApiRef, OfferedApi] = {}
    for tool in tools:
        for api in tool.api_list:
            ref = ApiRef(tool.category, tool.standard_name, api.standard_name)
            if ref in refs:
                offered[ref] = OfferedApi(ref, api, tool.tool_description)
    return offered


@dataclass(frozen=True)
class FunctionParameter:
    """One parameter of a function; the model sees ``name``, and the call is sent with ``argument_name``."""

    name: str
    argument_name: str
    document: Parameter
    required: bool

    @property
    def type(self) -> str:
        """The JSON Schema type."""
        return _TYPES.get(_type_word(self.document), "string")

    @property
    def example(self) -> Any:
        """The documented default, converted to the parameter's type; None if there is none."""
        value = self.document.default
        if value is None or value == "":
            return None
        if self.type in {"number", "integer"} and isinstance(value, str):
            return json.loads(value) if _NUMBER.fullmatch(value) and not _has_leading_zeros(value) else value
        if self.type == "boolean" and isinstance(value, str):
            return {"true": True, "false": False}.get(value.lower(), value)
        return value

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema that the model sees."""
        sentences = [self.document.description.strip()]
        if "(" in self.document.type:
            sentences.append(f"Format: {self.document.type.split('(', 1)[1].rstrip(') ')}.")
        if self.example is not None:
            sentences.append(f"Example: {json.dumps(self.example, ensure_ascii=False)}")
        schema: dict[str, Any] = {
            "type": self.type,
            "description": _shorten(" ".join(filter(None, sentences)), _LONGEST_PARAMETER_DESCRIPTION),
        }
        return {**schema, "items": {}} if self.type == "array" else schema


@dataclass(frozen=True)
class ApiFunction:
    """One API as a function."""

    schema: FunctionSchema
    api: OfferedApi
    parameters: tuple[FunctionParameter, ...]

    @property
    def name(self) -> str:
        """The name that the model calls."""
        return self.schema.name

    @property
    def ref(self) -> ApiRef:
        """The API behind the function."""
        return self.api.ref

    def call_arguments(self, arguments: Mapping[str, Any]) -> JsonObject:
        """The arguments to send with the call; arguments without a parameter are sent unchanged."""
        argument_names = {parameter.name: parameter.argument_name for parameter in self.parameters}
        return {argument_names.get(name, name): value for name, value in arguments.items()}


class Functions:
    """The functions of one query, in the query's order."""

    def __init__(self, apis: Iterable[OfferedApi]) -> None:
        offered = list({api.ref: api for api in apis}.values())
        names = name_functions([api.ref for api in offered])
        self.all = tuple(_make_function(names[api.ref], api) for api in offered)
        self._by_name = {function.name: function for function in self.all}
        self._by_ref = {function.ref: function for function in self.all}

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, without ``Finish``."""
        return tuple(self._by_name)

    @property
    def schemas(self) -> tuple[FunctionSchema, ...]:
        """The schemas for a model: all functions, then ``Finish``."""
        return (*(function.schema for function in self.all), finish_schema)

    def find(self, name: str) -> ApiFunction | None:
        """The function with exactly this name, or None."""
        return self._by_name.get(name)

    def find_api(self, ref: ApiRef) -> ApiFunction | None:
        """The function of an API, or None if the query does not offer it."""
        return self._by_ref.get(ref)


def name_functions(refs: Iterable[ApiRef]) -> dict[ApiRef, str]:
    """A legal name for each API, different from all others and from ``Finish``."""
    ordered = sorted(set(refs))
    full_names = {ref: f"{ref.api}_for_{ref.tool}" for ref in ordered}
    tails = {ref: name[-_LONGEST_NAME:] for ref, name in full_names.items()}
    ambiguous = {tail for tail, count in Counter(tails.values()).items() if count > 1}
    names = {ref: tail for ref, tail in tails.items() if tail not in ambiguous and _LEGAL.fullmatch(tail)}
    used = {FINISH, *names.values()}
    for ref in ordered:
        if ref not in names:
            names[ref] = _add_hash(full_names[ref], "/".join(ref), used)
            used.add(names[ref])
    return names


def _add_hash(name: str, identity: str, used: set[str]) -> str:
    """A legal name that is not in use: the beginning of ``name`` and some digits of a hash."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{attempt}:{identity}".encode()).hexdigest()[:8]
        candidate = f"{_NOT_LEGAL.sub('_', name)[: _LONGEST_NAME - 9]}_{digest}"
        if candidate not in used:
            return candidate
        attempt += 1


def _make_function(name: str, api: OfferedApi) -> ApiFunction:
    parameters = _make_parameters(api.document)
    tool = api.tool_description.strip()
    about = f"{api.document.description.strip()}\nAbout the tool {api.ref.tool}: {tool}" if tool else ""
    schema = FunctionSchema(
        name=name,
        description=_shorten((about or api.document.description).strip(), _LONGEST_DESCRIPTION),
        parameters={
            "type": "object",
            "properties": {parameter.name: parameter.schema for parameter in parameters},
            "required": [parameter.name for parameter in parameters if parameter.required],
        },
    )
    return ApiFunction(schema, api, parameters)


def _make_parameters(api: ApiDocument) -> tuple[FunctionParameter, ...]:
    """Parameters in order, the required ones first.

    Parameters with the same standard name become one, because a call can hold only one of them. It has the
    description of the first, and is required if any of them is.
    """
    parameters: dict[str, FunctionParameter] = {}
    used: set[str] = set()
    for required, documents in ((True, api.required_parameters), (False, api.optional_parameters)):
        for document in documents:
            standard_name = document.standard_name
            if standard_name in parameters:
                continue
            is_legal = _LEGAL.fullmatch(standard_name)
            name = standard_name if is_legal else _add_hash(standard_name, standard_name, used)
            used.add(name)
            parameters[standard_name] = FunctionParameter(name, standard_name, document, required)
    return tuple(parameters.values())


def _type_word(parameter: Parameter) -> str:
    return re.split(r"[\s(]", parameter.type.strip(), maxsplit=1)[0].upper()


def _has_leading_zeros(number: str) -> bool:
    """Whether a number starts with zeros that JSON does not allow."""
    digits = number.lstrip("-")
    return digits.startswith("0") and not digits.startswith("0.") and digits != "0"


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def finish_name(name: str, known: Collection[str]) -> str:
    """``Finish`` for that name in any case, unless a known function has the name as it is written; else the name."""
    return FINISH if name.lower() == FINISH.lower() and name not in known else name
