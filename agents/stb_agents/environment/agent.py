"""What an agent is to the runner: it gets a task and an environment, and says how it ended.

``Task`` says what to do, ``Environment`` (its own module) is everything the agent can reach, and
``Outcome`` is how it ended. The runner makes the trajectory of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stb_agents.environment.budget import Budget
from stb_core.values.queries import Query
from stb_core.values.trajectories import Message, Node, Step, StopReason

if TYPE_CHECKING:
    from stb_agents.environment.environment import Environment

ModelUse = Literal["required", "optional", "none"]


@dataclass(frozen=True)
class Task:
    """One query in one trial; ``seed`` is None where chance is not to be fixed."""

    query: Query
    trial: int = 0
    seed: int | None = None

    @property
    def text(self) -> str:
        """What the user asks."""
        return self.query.text


@dataclass(frozen=True)
class Outcome:
    """How an agent ended. What is None is taken from the environment's record.

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
        """As on the command line and in manifests."""
        ...

    @property
    def model_use(self) -> ModelUse:
        """Whether it asks a model."""
        ...

    @property
    def budget(self) -> Budget:
        """The limits of a trial that nobody has limited otherwise."""
        ...

    def settings(self) -> dict[str, Any]:
        """Everything of its own that could change a score, as JSON values, for the manifest."""
        ...

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Work on a task until it is done; it is cancelled soon after its time is up.

        Raises:
            BudgetSpent: passed on from the environment; the runner takes its record.
            ServiceError, ModelError: passed on; the runner tells infrastructure from the agent.
        """
        ...
