"""Tool documents of a release, read from ``tools/`` or derived from what its queries embed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pydantic import ValidationError

from stb_core import json_text
from stb_core.errors import CallError, FormatError
from stb_core.values.calls import canonical_json
from stb_core.values.tools import ApiDocument, ApiRef, ToolDocument
from stb_server.datasets.dataset_names import name_problem
from stb_server.datasets.import_report import Conflict, Skipped, shortened
from stb_server.datasets.release import Release

ToolName: TypeAlias = tuple[str, str]
DERIVED = "derived_from"

Document = TypeVar("Document", ToolDocument, ApiDocument)


class Embedded(NamedTuple):
    """One entry of a query's ``api_list``: where it stands, which API it describes, and how."""

    file: str
    ref: ApiRef
    entry: Mapping[str, Any]


def read_tools(release: Release) -> tuple[dict[ToolName, ToolDocument], list[Conflict]]:
    """The documents under ``tools/`` by (category, tool); what cannot be used is skipped in ``release``."""
    found: dict[ToolName, ToolDocument] = {}
    first: dict[ToolName, str] = {}
    conflicts: list[Conflict] = []
    for category, file in release.tool_files():
        shown = release.shown(file)
        try:
            document = _tool({**_object(file.read_bytes()), "category": category}, shown, release, conflicts)
        except OSError as problem:
            release.skip(file, f"cannot be read: {problem.strerror}")
            continue
        except FormatError as problem:
            release.skip(file, problem.message)
            continue
        name = (document.category, document.standard_name)
        if name in found:
            conflicts.append(Conflict(shown, first[name], shown, found[name] == document))
            continue
        found[name], first[name] = document, shown
    return found, conflicts


def derive_tools(
    embedded: Iterable[Embedded], known: Mapping[ToolName, ToolDocument]
) -> tuple[dict[ToolName, ToolDocument], list[Skipped]]:
    """Documents of tools that only queries describe, made of the API documents in their ``api_list``.

    Of several descriptions of one API that with the smallest canonical JSON counts, so that the
    order in which queries come does not matter.

    Args:
        embedded: entries of ``api_list``.
        known: documents that are there already; one derived earlier is extended, others stand.
    """
    names: dict[ToolName, str] = {}
    apis: dict[ToolName, dict[str, ApiDocument]] = {}
    skipped: list[Skipped] = []
    for shown, ref, entry in embedded:
        name = (ref.category, ref.tool)
        before = known.get(name)
        if before is not None and not is_derived(before):
            continue
        if name not in apis:
            apis[name] = {api.standard_name: api for api in before.api_list} if before else {}
            names[name] = before.tool_name if before else entry["tool_name"]
        names[name] = min(names[name], entry["tool_name"])
        try:
            api = _embedded_api(entry)
        except FormatError as problem:
            skipped.append(Skipped(shown, f"API {ref.api} of tool {ref.tool}: {problem.message}"))
            continue
        other = apis[name].get(ref.api)
        apis[name][ref.api] = api if other is None else min(api, other, key=_canonical)
    derived = {
        (category, tool): ToolDocument.model_validate(
            {
                "category": category,
                "tool_name": names[category, tool],
                DERIVED: "queries",
                "api_list": [document for _, document in sorted(members.items())],
            }
        )
        for (category, tool), members in apis.items()
        if members
    }
    return derived, skipped


def is_derived(document: ToolDocument) -> bool:
    """Whether a document was made from queries and gives way to a real one."""
    return DERIVED in (document.model_extra or {})


def _tool(value: dict[str, Any], shown: str, release: Release, conflicts: list[Conflict]) -> ToolDocument:
    """A checked document with APIs of distinct, usable names."""
    document = validated(ToolDocument, value)
    if problem := name_problem(document.category, document.standard_name, "any"):
        raise FormatError(problem)
    if "\0" in document.tool_name + document.tool_description:
        raise FormatError("its name or description holds a NUL character")
    apis: dict[str, ApiDocument] = {}
    for api in document.api_list:
        name = api.standard_name
        if problem := name_problem(document.category, document.standard_name, name):
            release.skipped.append(Skipped(shown, f"API {shortened(api.name)!r}: {problem}"))
        elif name in apis:
            conflicts.append(Conflict(shown, apis[name].name, api.name, apis[name] == api))
        else:
            apis[name] = api
    return document.model_copy(update={"api_list": tuple(apis.values())})


def _object(raw: bytes) -> dict[str, Any]:
    value = json_text.parse(raw)
    if not isinstance(value, dict):
        raise FormatError("is not a tool document: not an object")
    return value


def _embedded_api(entry: Mapping[str, Any]) -> ApiDocument:
    value = {name: member for name, member in entry.items() if name not in {"category_name", "tool_name"}}
    value["name"] = value.pop("api_name")
    value["description"] = value.pop("api_description", "")
    return validated(ApiDocument, value)


def validated(model: type[Document], value: Mapping[str, Any]) -> Document:
    """A document of the model's form.

    Raises:
        FormatError: it is not, or JSON cannot carry it; the message names the first wrong field.
    """
    try:
        canonical_json(value)
        return model.model_validate(value)
    except CallError as problem:
        raise FormatError(f"is not a tool document: {problem.message.rstrip('.')}") from None
    except ValidationError as problem:
        error = problem.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in error["loc"])
        raise FormatError(f"is not a tool document: {place}: {error['msg']}") from None


def _canonical(api: ApiDocument) -> str:
    return json.dumps(api.model_dump(mode="json"), sort_keys=True)
