"""The names of a dataset's APIs, and which API a client means by the names in its request.

Clients write names as RapidAPI does (``"Video, Images"``, ``"SQUAKE"``), in ToolBench's standard
form, or with the suffixes that ToolBench gives them: ``<tool>_for_<Category>`` and
``<api>_for_<tool>``. A name that matches unchanged always wins, so names that contain ``_for_``
themselves are found. The reference server cuts at the first ``_for_``; this is tried last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rapidfuzz import fuzz, process

from stb_core.store import Dataset, Store
from stb_core.values import ApiRef, standardize_api, standardize_category, standardize_tool
from stb_core.values.names import MAX_NAME_LENGTH, strip_suffix

_SUGGESTIONS = 3
_LEAST_LIKENESS = 60  # of 100
_SHOWN_LENGTH = 80


@dataclass(frozen=True)
class Unknown:
    """These names mean no API; ``what`` is the first of them that matches nothing."""

    what: Literal["category", "tool", "api"]
    message: str


class Catalogue:
    """The names of all APIs of one dataset; documents stay in the store until they are needed."""

    def __init__(self, documented: Iterable[ApiRef], recorded: Iterable[ApiRef] = ()) -> None:
        """Make a catalogue of names.

        Args:
            documented: APIs with a tool document, in order.
            recorded: APIs that have recorded responses, documented or not.
        """
        self._apis: dict[str, dict[str, dict[str, ApiRef]]] = {}
        for ref in (*documented, *recorded):
            self._apis.setdefault(ref.category, {}).setdefault(ref.tool, {})[ref.api] = ref

    @classmethod
    async def load(cls, store: Store, dataset: Dataset) -> Catalogue:
        """Read the names of a dataset: those of its documents and those of its responses."""
        return cls(await store.datasets.api_refs(dataset.id), await store.responses.api_refs(dataset.id))

    def __len__(self) -> int:
        return sum(len(apis) for tools in self._apis.values() for apis in tools.values())

    def __iter__(self) -> Iterator[ApiRef]:
        """All APIs, by category, tool and name."""
        for _, tools in sorted(self._apis.items()):
            for _, apis in sorted(tools.items()):
                yield from sorted(apis.values())

    def resolve(self, category: str, tool: str, api: str) -> ApiRef | Unknown:
        """The API that a client means, or which of its names is unknown and which names are similar."""
        exact = self._apis.get(category, {}).get(tool, {}).get(api)
        if exact is not None:
            return exact
        if max(len(category), len(tool), len(api)) > MAX_NAME_LENGTH:
            return self._unknown_long(category, tool)
        folder = category if category in self._apis else standardize_category(category)
        tools = self._apis.get(folder)
        if tools is None:
            return _unknown("category", category, "", self._apis)
        likely = [name for name in tool_names(tool, folder) if name in tools]
        last = [name for name in [_cut(tool, standardize_tool)] if name in tools]
        for candidates, api_forms in ((likely, api_names), (likely + last, _all_api_names)):
            for name in candidates:
                for form in api_forms(api, name, folder):
                    if (ref := tools[name].get(form)) is not None:
                        return ref
        if not likely + last:
            return _unknown("tool", tool, f" in category {folder}", tools)
        owner = (likely + last)[0]
        return _unknown("api", api, f" in tool {owner} of category {folder}", tools[owner])

    def _unknown_long(self, category: str, tool: str) -> Unknown:
        what: Literal["category", "tool", "api"] = "api"
        if len(category) > MAX_NAME_LENGTH:
            what = "category"
        elif len(tool) > MAX_NAME_LENGTH:
            what = "tool"
        return Unknown(what, f"The name of the {_WORDS[what]} is longer than {MAX_NAME_LENGTH} characters.")


def tool_names(tool: str, category: str) -> list[str]:
    """The standard tool names that a client may mean, most likely first.

    Args:
        tool: as the client writes it.
        category: in standard form.
    """
    standard = standardize_tool(tool)
    forms = [
        tool,
        standard,
        standardize_tool(strip_suffix(tool, category)),
        strip_suffix(standard, standardize_tool(category)),
    ]
    return list(dict.fromkeys(forms))


def api_names(api: str, tool: str, category: str) -> list[str]:
    """The standard API names that a client may mean, most likely first.

    Args:
        api: as the client writes it.
        tool: in standard form.
        category: in standard form.
    """
    standard = standardize_tool(api)
    bare = strip_suffix(standard, standardize_tool(category))
    forms = [api, standardize_api(api), *(standardize_api(strip_suffix(n, tool)) for n in (standard, bare))]
    return list(dict.fromkeys(forms))


def _all_api_names(api: str, tool: str, category: str) -> list[str]:
    return [*api_names(api, tool, category), _cut(api, standardize_api)]


def _cut(name: str, standardize: Callable[[str], str]) -> str:
    """What the reference server looks for: the part before the first ``_for_``."""
    return standardize(name.split("_for_", maxsplit=1)[0])


_WORDS = {"category": "category", "tool": "tool", "api": "API"}


def _unknown(
    what: Literal["category", "tool", "api"], name: str, place: str, known: Iterable[str]
) -> Unknown:
    shown = name if len(name) <= _SHOWN_LENGTH else f"{name[:_SHOWN_LENGTH]}…"
    message = f"There is no {_WORDS[what]} {shown!r}{place}."
    close = close_names(name, known)
    return Unknown(what, f"{message} Did you mean {' or '.join(close)}?" if close else message)


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that are similar to ``name``, most similar first, then by name."""
    scored = process.extract(
        name, sorted(known), scorer=fuzz.ratio, processor=str.lower, score_cutoff=_LEAST_LIKENESS, limit=None
    )
    return [close for _, close in sorted((-score, close) for close, score, _ in scored)][:_SUGGESTIONS]
