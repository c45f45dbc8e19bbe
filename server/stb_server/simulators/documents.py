"""What is known of the API to simulate: its tool, its document, its names."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from stb_core.store import Dataset, Store
from stb_core.values import ApiDocument, ApiRef

MAX_REMEMBERED = 1024
"""APIs whose documents are kept in memory."""


@dataclass(frozen=True)
class Subject:
    """One API; without a document, only its recorded answers are known."""

    ref: ApiRef
    tool_name: str
    tool_description: str = ""
    document: ApiDocument | None = None


class Subjects:
    """Reads subjects from the store, and remembers them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: OrderedDict[tuple[int, str, ApiRef], Subject] = OrderedDict()

    async def get(self, dataset: Dataset, ref: ApiRef) -> Subject:
        """The API of that name in a dataset.

        Raises:
            StoreError: the store cannot be read.
        """
        place = dataset.id, dataset.content_hash, ref
        subject = self._found.get(place)
        if subject is None:
            subject = await self._read(dataset.id, ref)
            self._found[place] = subject
            if len(self._found) > MAX_REMEMBERED:
                self._found.popitem(last=False)
        else:
            self._found.move_to_end(place)
        return subject

    async def _read(self, dataset_id: int, ref: ApiRef) -> Subject:
        tools = await self._store.datasets.tools(dataset_id, category=ref.category, tool=ref.tool)
        if not tools:
            return Subject(ref, ref.tool)
        tool = tools[0]
        document = next((api for api in tool.api_list if api.standard_name == ref.api), None)
        return Subject(ref, tool.tool_name, tool.tool_description, document)
