"""Tool documents: read from the files of ``tools/``, or derived from what queries embed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pydantic import ValidationError

from stb_core import json_text
from stb_core.errors import CallError, FormatError
from stb_core.files import read_document
from stb_core.values import ApiDocument, ApiRef, ToolDocument, canonical_json
from stb_server.datasets.dataset_names import name_problem
from stb_server.datasets.import_report import Conflict, SkippedFile, shortened
from stb_server.datasets.release_folder import ReleaseFolder

ToolName: TypeAlias = tuple[str, str]
DERIVED = "derived_from"

Document = TypeVar("Document", ToolDocument, ApiDocument)


class Embedded(NamedTuple):
    """One entry of a query's ``api_list``: the file it is in, the API it describes, and the description."""

    file: str
    ref: ApiRef
    entry: Mapping[str, Any]


def read_tools(
    folder: ReleaseFolder, files: Iterable[tuple[str, Path]]
) -> tuple[dict[ToolName, ToolDocument], list[Conflict]]:
    """Read the documents in files, each with the folder of its category; unusable ones are skipped.

    Returns:
        The documents by (category, tool), and documents or APIs that occur twice.
    """
    tools: dict[ToolName, ToolDocument] = {}
    first: dict[ToolName, str] = {}
    conflicts: list[Conflict] = []
    for category, file in files:
        file_name = folder.display_name(file)
        try:
            document = _tool(
                {**_object(read_document(file)), "category": category}, file_name, folder, conflicts
            )
        except FormatError as problem:
            folder.skip(file, problem.message)
            continue
        name = (document.category, document.standard_name)
        if name in tools:
            tools[name] = _merged(tools[name], document, (first[name], file_name), conflicts)
            continue
        tools[name], first[name] = document, file_name
    return tools, conflicts


def derive_tools(
    embedded: Iterable[Embedded], known: Mapping[ToolName, ToolDocument]
) -> tuple[dict[ToolName, ToolDocument], list[SkippedFile]]:
    """Make documents of tools and APIs that only queries describe, from the API documents in their ``api_list``.

    If an API is described more than once, the description with the smallest canonical JSON counts, so
    that the order of queries does not matter.

    Args:
        embedded: entries of ``api_list``.
        known: existing documents. They get the APIs that they lack; an API that was derived earlier may change,
            others stay as they are.

    Returns:
        The documents that queries contribute to, and descriptions that cannot be used.
    """
    names: dict[ToolName, str] = {}
    apis: dict[ToolName, dict[str, ApiDocument]] = {}
    skipped: list[SkippedFile] = []
    for file_name, ref, entry in embedded:
        name = (ref.category, ref.tool)
        before = known.get(name)
        if before is not None and not is_derived(before) and _documents(before, ref.api):
            continue
        if name not in apis:
            apis[name] = (
                {api.standard_name: api for api in before.api_list if _is_of_queries(before, api)}
                if before
                else {}
            )
            names[name] = before.tool_name if before else entry["tool_name"]
        names[name] = min(names[name], entry["tool_name"])
        try:
            api = _embedded_api(entry)
        except FormatError as problem:
            skipped.append(SkippedFile(file_name, f"API {ref.api} of tool {ref.tool}: {problem.message}"))
            continue
        if before is not None and not is_derived(before):
            api = api.model_copy(update={DERIVED: "queries"})
        other = apis[name].get(ref.api)
        apis[name][ref.api] = api if other is None else min(api, other, key=_canonical)
    derived = {
        name: _with_apis(known.get(name), name, names[name], [api for _, api in sorted(members.items())])
        for name, members in apis.items()
        if members
    }
    return derived, skipped


def keep_derived_apis(new: ToolDocument, old: ToolDocument) -> ToolDocument:
    """A tool's new document with the APIs that queries gave to its old one, and that the new one lacks."""
    if is_derived(old):
        members = old.api_list
    else:
        members = tuple(api for api in old.api_list if _is_of_queries(old, api))
    there = {api.standard_name for api in new.api_list}
    missing = [api for api in members if api.standard_name not in there]
    if not missing:
        return new
    marked = [api.model_copy(update={DERIVED: "queries"}) for api in missing]
    return new.model_copy(update={"api_list": (*new.api_list, *marked)})


def _documents(tool: ToolDocument, api: str) -> bool:
    """Whether a tool's own document, and not a query, describes an API."""
    return any(one.standard_name == api and not _is_of_queries(tool, one) for one in tool.api_list)


def _is_of_queries(tool: ToolDocument, api: ApiDocument) -> bool:
    return is_derived(tool) or DERIVED in (api.model_extra or {})


def _with_apis(
    before: ToolDocument | None, name: ToolName, tool_name: str, apis: list[ApiDocument]
) -> ToolDocument:
    """A document of a tool with the APIs that queries describe, behind those of its own document."""
    if before is not None and not is_derived(before):
        own = tuple(api for api in before.api_list if not _is_of_queries(before, api))
        return before.model_copy(update={"api_list": (*own, *apis)})
    return ToolDocument.model_validate(
        {"category": name[0], "tool_name": tool_name, DERIVED: "queries", "api_list": apis}
    )


def _merged(
    kept: ToolDocument, other: ToolDocument, files: tuple[str, str], conflicts: list[Conflict]
) -> ToolDocument:
    """The document of a tool that two files describe: by API, and of two descriptions of one the first."""
    first, second = files
    if kept == other:
        conflicts.append(Conflict(second, first, second, agree=True))
        return kept
    if _without_apis(kept) != _without_apis(other):
        conflicts.append(Conflict(second, f"{first}: name and description", second, agree=False))
    apis = {api.standard_name: api for api in kept.api_list}
    for api in other.api_list:
        known = apis.setdefault(api.standard_name, api)
        if known is not api:
            agree = known == api
            conflicts.append(Conflict(second, f"{first}: API {known.name}", f"API {api.name}", agree))
    return kept.model_copy(update={"api_list": tuple(apis.values())})


def _without_apis(tool: ToolDocument) -> dict[str, Any]:
    return tool.model_dump(mode="json", exclude={"api_list"})


def is_derived(document: ToolDocument) -> bool:
    """Whether a document was made from queries; a real one replaces it."""
    return DERIVED in (document.model_extra or {})


def _tool(
    value: dict[str, Any], file_name: str, folder: ReleaseFolder, conflicts: list[Conflict]
) -> ToolDocument:
    """A checked document whose APIs have distinct, usable names."""
    document = validated(ToolDocument, value)
    if problem := name_problem(document.category, document.standard_name, "any"):
        raise FormatError(problem)
    if "\0" in document.tool_name + document.tool_description:
        raise FormatError("its name or description holds a NUL character")
    apis: dict[str, ApiDocument] = {}
    for api in document.api_list:
        name = api.standard_name
        if problem := name_problem(document.category, document.standard_name, name):
            folder.skipped.append(SkippedFile(file_name, f"API {shortened(api.name)!r}: {problem}"))
        elif name in apis:
            conflicts.append(Conflict(file_name, apis[name].name, api.name, apis[name] == api))
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
    """A document of this model.

    Raises:
        FormatError: the value does not fit the model, or JSON cannot hold it; the message names the
            first wrong field.
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
