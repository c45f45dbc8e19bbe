"""Writes recorded responses in the official layout, for servers that read only that.

    tool_response_cache/<Category>/<tool>_for_<Category>/<api>.json

A key is the call's arguments in Python's notation, in canonical order; a reference server finds it only
for clients that send their arguments in that order. The layout has no provenance, so answers that were not
recorded from a real API are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stb_core import json_text
from stb_core.errors import FormatError, StoreError
from stb_core.files import whole_folder
from stb_core.store import Dataset, Response, Store
from stb_core.values import Provenance, parse_arguments
from stb_server.datasets.official_release import RESPONSES

_REAL = frozenset({Provenance.RECORDED, Provenance.LIVE})


@dataclass
class WrittenLayout:
    """How many responses and files were written, and how many responses were left out."""

    folder: str
    files: int = 0
    responses: int = 0
    left_out: int = 0


async def write_official_cache(
    store: Store, dataset: Dataset, folder: Path, *, advance: Callable[[int], None]
) -> WrittenLayout:
    """Write ``folder/tool_response_cache``.

    Raises:
        ConflictError: the folder exists already.
        UsageError: the folder cannot be written.
    """
    target = folder / RESPONSES
    written = WrittenLayout(str(target))
    with whole_folder(target) as root:
        for ref in await store.responses.api_refs(dataset.id):
            responses = await store.responses.of_api(dataset.id, *ref)
            advance(len(responses))
            real = [response for response in responses if response.provenance in _REAL]
            written.left_out += len(responses) - len(real)
            if not real:
                continue
            file = root / ref.category / f"{ref.tool}_for_{ref.category}" / f"{ref.api}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_file_text(real), encoding="utf-8")
            written.files += 1
            written.responses += len(real)
    return written


def _file_text(responses: Sequence[Response]) -> str:
    entries: dict[str, object] = {}
    for response in responses:
        try:
            entries[str(parse_arguments(response.arguments))] = json_text.parse(response.body)
        except FormatError as problem:
            raise StoreError(f"The body of response {response.key} {problem.message}.") from None
    return json.dumps(entries, ensure_ascii=False, indent=4)
