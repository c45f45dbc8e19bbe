"""Query files: ``test_instruction/<group>.json``, limited to the ids in ``test_query_ids/``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stb_core import json_text
from stb_core.errors import FormatError
from stb_core.files import read_document
from stb_core.values import ApiRef, Query, standardize_api, standardize_category, standardize_tool
from stb_server.datasets.dataset_names import name_problem
from stb_server.datasets.import_report import Conflict, Gap, SkippedFile, is_text, shortened
from stb_server.datasets.release_folder import ReleaseFolder
from stb_server.datasets.tool_files import Embedded

_MOST_CHARACTERS = 100


@dataclass
class QueryFiles:
    """Queries by group, in the order of their file, with the API documents that they embed."""

    groups: dict[str, list[Query]] = field(default_factory=dict)
    embedded: list[Embedded] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)


def read_queries(folder: ReleaseFolder, files: Iterable[tuple[Path, Path | None]]) -> QueryFiles:
    """Read groups of queries; unusable ones are skipped.

    A group whose list of ids cannot be read is left out, because nobody can tell which of its queries count.

    Args:
        folder: where the files are.
        files: (queries of a group, the ids that count or None for all).
    """
    result = QueryFiles()
    for file, ids_file in files:
        ids: dict[str, None] | None = None
        if ids_file is not None:
            try:
                ids = _ids(_read(ids_file))
            except FormatError as problem:
                folder.skip(ids_file, f"{problem.message}; the group {file.stem} is left out")
                continue
        try:
            _read_group(file, ids, folder, result)
        except FormatError as problem:
            folder.skip(file, problem.message)
    return result


def _read_group(file: Path, ids: dict[str, None] | None, folder: ReleaseFolder, result: QueryFiles) -> None:
    group, file_name = file.stem, folder.display_name(file)
    entries = _read(file)
    if not isinstance(entries, list):
        raise FormatError("is not a list of queries")
    if len(group) > _MOST_CHARACTERS or not group.isprintable():
        raise FormatError(f"its name is not valid for a group: up to {_MOST_CHARACTERS} printable characters")
    queries: dict[str, Query] = {}
    seen: set[str] = set()
    for position, entry in enumerate(entries):
        try:
            query_id = _query_id(entry)
            seen.add(query_id)
            if ids is not None and query_id not in ids:
                continue
            query, embedded = _query(group, query_id, entry, file_name, folder)
        except FormatError as problem:
            folder.skipped.append(SkippedFile(file_name, f"entry {position}: {problem.message}"))
            continue
        if query_id in queries:
            conflict = Conflict(
                file_name, f"query {query_id}", f"entry {position}", queries[query_id] == query
            )
            result.conflicts.append(conflict)
            continue
        queries[query_id] = query
        result.embedded += embedded
    if missing := [query_id for query_id in ids or () if query_id not in seen]:
        listed = shortened(", ".join(missing))
        reason = f"lacks {len(missing)} of the queries that test_query_ids names: {listed}"
        folder.gaps.append(Gap(file_name, reason))
    result.groups[group] = list(queries.values())


def _query(
    group: str, query_id: str, entry: Mapping[str, Any], file_name: str, folder: ReleaseFolder
) -> tuple[Query, list[Embedded]]:
    text = entry.get("query")
    if not isinstance(text, str) or not is_text(text):
        raise FormatError("has no text under query")
    members = entry.get("api_list")
    if not isinstance(members, list):
        raise FormatError("has no list under api_list")
    embedded = [Embedded(file_name, _ref(member), member) for member in members]
    apis = tuple(dict.fromkeys(item.ref for item in embedded))
    by_name = {(ref.tool, ref.api): ref for ref in reversed(apis)}
    relevant: list[ApiRef] = []
    for tool, api in _pairs(entry.get("relevant APIs")):
        ref = by_name.get((standardize_tool(tool), standardize_api(api)))
        if ref is not None:
            relevant.append(ref)
            continue
        reason = f"query {query_id} is imported without its relevant API {shortened(api)!r}, which is not in its api_list"
        folder.gaps.append(Gap(file_name, reason))
    query = Query(
        query_id=query_id, group=group, text=text, apis=apis, relevant_apis=tuple(dict.fromkeys(relevant))
    )
    return query, embedded


def _ref(member: Any) -> ApiRef:
    fields = ("category_name", "tool_name", "api_name")
    if not isinstance(member, dict) or not all(isinstance(member.get(name), str) for name in fields):
        raise FormatError("an entry of api_list lacks category_name, tool_name or api_name")
    category, tool, api = (member[name] for name in fields)
    ref = ApiRef(standardize_category(category), standardize_tool(tool), standardize_api(api))
    if problem := name_problem(*ref):
        raise FormatError(f"API {shortened(api)!r}: {problem}")
    return ref


def _pairs(value: Any) -> list[list[str]]:
    pairs = value or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)
        for pair in pairs
    ):
        raise FormatError("relevant APIs is not a list of tool and API names")
    return pairs


def _query_id(entry: Any) -> str:
    if not isinstance(entry, dict):
        raise FormatError("is not an object")
    return _id(entry.get("query_id"))


def _id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise FormatError("has no number or text under query_id")
    text = str(value)
    if not 0 < len(text) <= _MOST_CHARACTERS or not text.isprintable():
        raise FormatError(f"its query_id is not text of up to {_MOST_CHARACTERS} printable characters")
    return text


def _ids(value: Any) -> dict[str, None]:
    if not isinstance(value, dict | list):
        raise FormatError("is not a list of query ids, or an object named by them")
    return dict.fromkeys(_id(item) for item in value)


def _read(file: Path) -> Any:
    return json_text.parse(read_document(file))
