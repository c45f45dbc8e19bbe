"""What a simulator may be: any layer can be served, and one with a model can also be measured and counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from stb_core.store import Dataset, Snapshot
from stb_core.values import ToolCall
from stb_server.calls import Answer, Decline
from stb_server.simulators.arguments import NO_PROBLEMS, ArgumentProblems
from stb_server.simulators.ask import ReplyCounts
from stb_server.simulators.documents import Subject


@dataclass(frozen=True)
class SimulationRequest:
    """A call with what is known about it.

    ``dataset`` holds the recorded answers that may be shown to the model; None for no examples.
    ``history`` holds the earlier calls of the call's episode with their answers, oldest first.
    """

    subject: Subject
    call: ToolCall
    dataset: Dataset | None = None
    snapshot: Snapshot | None = None
    history: Sequence[Mapping[str, Any]] = ()
    problems: ArgumentProblems = NO_PROBLEMS


@runtime_checkable
class ModelBacked(Protocol):
    """A simulator with a language model behind it.

    The metrics of the server report its ``counts``, and ``stb experiment simulator`` measures it.
    """

    counts: ReplyCounts

    async def simulate(self, request: SimulationRequest) -> Answer | Decline:
        """The answer of an API that need not be in a dataset, or why there is no answer."""
        ...
