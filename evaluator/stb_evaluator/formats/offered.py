"""The functions that a run offered, as models were shown them, from the documents of its dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from stb_core.store import Run, Store
from stb_core.values import FINISH, ApiRef, Functions, FunctionSchema, Query, Trajectory
from stb_core.values.functions import OfferedApi, finish_schema


@dataclass(frozen=True)
class OfferedFunctions:
    """Documents by API and queries by place; both empty when the dataset is not in the store."""

    documents: dict[ApiRef, OfferedApi] = field(default_factory=dict)
    queries: dict[tuple[str, str], Query] = field(default_factory=dict)

    def functions(self, trajectory: Trajectory, *, with_finish: bool = False) -> list[dict[str, Any]]:
        """Name, description and parameters of each function that was offered; the name alone where unknown.

        ``Finish`` is among those of ToolBench's answers; ``with_finish`` adds it to those of ours.
        """
        query = self.queries.get((trajectory.group, trajectory.query_id))
        known = self._schemas(query.apis if query else ())
        names = list(trajectory.available_tools)
        if any(name not in known for name in names):  # an agent may be offered what its query does not name
            known = self._all | known
        if with_finish and FINISH not in names:
            names.append(FINISH)
        known[FINISH] = finish_schema
        return [known[name].model_dump() if name in known else {"name": name} for name in names]

    def _schemas(self, refs: tuple[ApiRef, ...]) -> dict[str, FunctionSchema]:
        offered = Functions(self.documents[ref] for ref in refs if ref in self.documents)
        return {function.name: function.schema for function in offered.all}

    @cached_property
    def _all(self) -> dict[str, FunctionSchema]:
        return self._schemas(tuple(self.documents))


async def offer_of(store: Store, run: Run, queries: dict[tuple[str, str], Query]) -> OfferedFunctions:
    """What a run offered; ``queries`` are those of the run, by group and id."""
    for dataset in await store.datasets.all():
        if dataset.name == run.dataset:
            documents = {
                ref: OfferedApi(ref, api, tool.tool_description)
                for tool in await store.datasets.tools(dataset.id)
                for api in tool.api_list
                for ref in (ApiRef(tool.category, tool.standard_name, api.standard_name),)
            }
            return OfferedFunctions(documents, queries)
    return OfferedFunctions()
