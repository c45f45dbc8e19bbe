"""API documents → the functions that an agent is offered, and a function's name → the API it means.

A function is named ``<api>_for_<tool>`` after the standard names (ToolBench, arXiv:2307.16789).
ToolBench's own clients keep the last 64 characters; so do we where that is legal and means one API
of the query, and put a short hash in its place elsewhere. Within a query no two functions share a
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

# RapidAPI's words for types, and JSON Schema's. What is not here (STRING, ENUM, DATE, TIME, BINARY)
# is sent as text.
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
    """An API that a query offers, with what is known about it."""

    ref: ApiRef
    document: ApiDocument
    tool_description: str = ""


def offered_apis(tools: Iterable[ToolDocument], refs: Collection[ApiRef]) -> dict[ApiRef, OfferedApi]:
    """These APIs with what is known about them; one without a document is left out."""
    found: dict[ApiRef, OfferedApi] = {}
    for tool in tools:
        for api in tool.api_list:
            ref = ApiRef(tool.category, tool.standard_name, api.standard_name)
            if ref in refs:
                found[ref] = OfferedApi(ref, api, tool.tool_description)
    return found


@dataclass(frozen=True)
class Slot:
    """One parameter of a function; ``name`` is what the model sees, ``sent_as`` what the call carries."""

    name: str
    sent_as: str
    parameter: Parameter
    required: bool

    @property
    def type(self) -> str:
        """The type in JSON Schema's words."""
        return _TYPES.get(_type_word(self.parameter), "string")

    @property
    def example(self) -> Any:
        """The documented default in the parameter's type; None when there is none."""
        value = self.parameter.default
        if value is None or value == "":
            return None
        if self.type in {"number", "integer"} and isinstance(value, str):
            return json.loads(value) if _NUMBER.fullmatch(value) and not _padded(value) else value
        if self.type == "boolean" and isinstance(value, str):
            return {"true": True, "false": False}.get(value.lower(), value)
        return value

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema that the model is shown."""
        words = [self.parameter.description.strip()]
        if "(" in self.parameter.type:
            words.append(f"Format: {self.parameter.type.split('(', 1)[1].rstrip(') ')}.")
        if self.example is not None:
            words.append(f"Example: {json.dumps(self.example, ensure_ascii=False)}")
        schema: dict[str, Any] = {
            "type": self.type,
            "description": _cut(" ".join(filter(None, words)), _LONGEST_PARAMETER_DESCRIPTION),
        }
        return {**schema, "items": {}} if self.type == "array" else schema


@dataclass(frozen=True)
class ApiFunction:
    """One API as a function."""

    schema: FunctionSchema
    api: OfferedApi
    slots: tuple[Slot, ...]

    @property
    def name(self) -> str:
        """What the model calls it."""
        return self.schema.name

    @property
    def ref(self) -> ApiRef:
        """The API that it means."""
        return self.api.ref

    def arguments_of_call(self, given: Mapping[str, Any]) -> JsonObject:
        """The arguments that the call carries; what the function has no parameter for goes along as it is."""
        sent_as = {slot.name: slot.sent_as for slot in self.slots}
        return {sent_as.get(name, name): value for name, value in given.items()}


class Functions:
    """The functions of one query, in the query's order."""

    def __init__(self, apis: Iterable[OfferedApi]) -> None:
        offered = list({api.ref: api for api in apis}.values())
        names = function_names([api.ref for api in offered])
        self.all = tuple(_function(names[api.ref], api) for api in offered)
        self._by_name = {function.name: function for function in self.all}
        self._by_ref = {function.ref: function for function in self.all}

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, without ``Finish``."""
        return tuple(self._by_name)

    @property
    def schemas(self) -> tuple[FunctionSchema, ...]:
        """What a model is given: all functions, and ``Finish`` as the last."""
        return (*(function.schema for function in self.all), finish_schema)

    def named(self, name: str) -> ApiFunction | None:
        """The function of exactly that name, or None."""
        return self._by_name.get(name)

    def of(self, ref: ApiRef) -> ApiFunction | None:
        """The function that means an API, or None when the query does not offer it."""
        return self._by_ref.get(ref)


def function_names(refs: Iterable[ApiRef]) -> dict[ApiRef, str]:
    """A name for each API: legal, different from all others and from ``Finish``."""
    known = sorted(set(refs))
    full = {ref: f"{ref.api}_for_{ref.tool}" for ref in known}
    tails = {ref: name[-_LONGEST_NAME:] for ref, name in full.items()}
    shared = {tail for tail, count in Counter(tails.values()).items() if count > 1}
    kept = {ref: tail for ref, tail in tails.items() if tail not in shared and _LEGAL.fullmatch(tail)}
    taken = {FINISH, *kept.values()}
    for ref in known:
        if ref not in kept:
            kept[ref] = _hashed(full[ref], "/".join(ref), taken)
            taken.add(kept[ref])
    return kept


def _hashed(name: str, identity: str, taken: set[str]) -> str:
    """A legal name that is not taken: the beginning of ``name`` and some digits of a hash."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{attempt}:{identity}".encode()).hexdigest()[:8]
        made = f"{_NOT_LEGAL.sub('_', name)[: _LONGEST_NAME - 9]}_{digest}"
        if made not in taken:
            return made
        attempt += 1


def _function(name: str, api: OfferedApi) -> ApiFunction:
    slots = _slots(api.document)
    tool = api.tool_description.strip()
    about = f"{api.document.description.strip()}\nAbout the tool {api.ref.tool}: {tool}" if tool else ""
    schema = FunctionSchema(
        name=name,
        description=_cut((about or api.document.description).strip(), _LONGEST_DESCRIPTION),
        parameters={
            "type": "object",
            "properties": {slot.name: slot.schema for slot in slots},
            "required": [slot.name for slot in slots if slot.required],
        },
    )
    return ApiFunction(schema, api, slots)


def _slots(document: ApiDocument) -> tuple[Slot, ...]:
    """Parameters in order, the required ones first.

    Names that are one in standard form make one slot, since a call can carry only one of them: the
    first is described, and it is required when any of them is.
    """
    slots: dict[str, Slot] = {}
    taken: set[str] = set()
    for required, parameters in ((True, document.required_parameters), (False, document.optional_parameters)):
        for parameter in parameters:
            sent_as = parameter.standard_name
            if sent_as in slots:
                continue
            name = sent_as if _LEGAL.fullmatch(sent_as) else _hashed(sent_as, sent_as, taken)
            taken.add(name)
            slots[sent_as] = Slot(name, sent_as, parameter, required)
    return tuple(slots.values())


def _type_word(parameter: Parameter) -> str:
    return re.split(r"[\s(]", parameter.type.strip(), maxsplit=1)[0].upper()


def _padded(number: str) -> bool:
    """Whether JSON would refuse it for its leading zeros."""
    digits = number.lstrip("-")
    return digits.startswith("0") and not digits.startswith("0.") and digits != "0"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
