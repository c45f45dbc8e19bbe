"""The interface of an agent: it gets a task and an environment, and returns how it ended.

``Task`` says what to do, ``Environment`` (in its own module) is everything that the agent can reach, and
``Outcome`` is how it ended. The runner makes the trajectory from these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stb_agents.environment.budget import Budget
from stb_core.values import Message, Node, Query, Step, StopReason

if TYPE_CHECKING:
    from stb_agents.environment.environment import Environment

ModelUse = Literal["required", "optional", "none"]


@dataclass(frozen=True)
class Task:
    """One query in one trial; ``seed`` is None where the run fixes none."""

    query: Query
    trial: int = 0
    seed: int | None = None

    @property
    def text(self) -> str:
        """What the user asks."""
        return self.query.text


@dataclass(frozen=True)
class Outcome:
    """How an agent ended. For what is None, the environment's own record is taken.

    ``steps`` is the path that led to the answer; a search keeps everything else in ``tree``.
    """

    stop: StopReason
    final_answer: str = ""
    messages: tuple[Message, ...] | None = None
    steps: tuple[Step, ...] | None = None
    tree: tuple[Node, ...] | None = None
    error: str = ""


class Agent(Protocol):
    """Something that solves tasks."""

    @property
    def name(self) -> str:
        """Its name on the command line and in manifests."""
        ...

    @property
    def model_use(self) -> ModelUse:
        """Whether it asks a model."""
        ...

    @property
    def budget(self) -> Budget:
        """Its limits per trial, where the command line sets no others."""
        ...

    def settings(self) -> dict[str, Any]:
        """Every setting of it that could change a score, as JSON values, for the manifest."""
        ...

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Work on a task until it is done. It is cancelled soon after its time is up.

        Raises:
            BudgetSpent: from the environment; the runner ends the trial with that reason.
            ServiceError, ModelError: from the environment; the runner decides whose fault it is.
        """
        ...
